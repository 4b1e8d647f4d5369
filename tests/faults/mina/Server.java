import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.apache.sshd.common.file.virtualfs.VirtualFileSystemFactory;
import org.apache.sshd.common.keyprovider.FileKeyPairProvider;
import org.apache.sshd.server.SshServer;
import org.apache.sshd.server.config.keys.AuthorizedKeysAuthenticator;
import org.apache.sshd.sftp.server.SftpSubsystemFactory;

/** An SFTP server on loopback: PORT HOST_KEY AUTHORIZED_KEYS ROOT, until it is killed. */
public final class Server {
    public static void main(String[] arguments) throws IOException, InterruptedException {
        SshServer server = SshServer.setUpDefaultServer();
        server.setHost("127.0.0.1");
        server.setPort(Integer.parseInt(arguments[0]));
        server.setKeyPairProvider(new FileKeyPairProvider(Path.of(arguments[1])));
        server.setPublickeyAuthenticator(new AuthorizedKeysAuthenticator(Path.of(arguments[2])));
        server.setFileSystemFactory(new VirtualFileSystemFactory(Path.of(arguments[3])));
        server.setSubsystemFactories(List.of(new SftpSubsystemFactory()));
        server.start();
        new CountDownLatch(1).await();
    }
}
