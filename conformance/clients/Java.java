import java.io.FileInputStream;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.*;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * A token with java.net.http (Java 11 and later).
 * Usage: P12_PASSWORD=... java Java.java URL CLIENT_ID PKCS12 CA
 */
class Java {
    static SSLContext tls(String pkcs12, char[] password, String ca) throws Exception {
        KeyStore mine = KeyStore.getInstance("PKCS12");
        try (var file = new FileInputStream(pkcs12)) {
            mine.load(file, password);
        }
        var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(mine, password);

        KeyStore anchors = KeyStore.getInstance("PKCS12");
        anchors.load(null, null);
        try (var file = new FileInputStream(ca)) {
            anchors.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(anchors);

        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        return context;
    }

    public static void main(String[] args) throws Exception {
        char[] password = System.getenv("P12_PASSWORD").toCharArray();
        HttpClient client = HttpClient.newBuilder()
                .sslContext(tls(args[2], password, args[3]))
                .connectTimeout(Duration.ofSeconds(10))
                .build();
        String form = "grant_type=client_credentials&client_id=" + URLEncoder.encode(args[1], UTF_8);
        HttpRequest request = HttpRequest.newBuilder(URI.create(args[0]))
                .header("Content-Type", "application/x-www-form-urlencoded")
                .timeout(Duration.ofSeconds(10))
                .POST(HttpRequest.BodyPublishers.ofString(form))
                .build();
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        (response.statusCode() == 200 ? System.out : System.err).println(response.body());
        System.exit(response.statusCode() == 200 ? 0 : 1);
    }
}
