import com.google.api.client.auth.oauth2.ClientCredentialsTokenRequest;
import com.google.api.client.auth.oauth2.ClientParametersAuthentication;
import com.google.api.client.auth.oauth2.TokenResponseException;
import com.google.api.client.http.*;
import com.google.api.client.http.javanet.NetHttpTransport;
import com.google.api.client.json.GenericJson;
import com.google.api.client.json.JsonObjectParser;
import com.google.api.client.json.gson.GsonFactory;
import com.google.api.client.json.webtoken.JsonWebSignature;
import java.io.FileInputStream;
import java.math.BigInteger;
import java.nio.file.Path;
import java.security.*;
import java.security.cert.CertificateFactory;
import java.security.spec.*;
import java.util.*;
import javax.net.ssl.*;

/**
 * Google's OAuth client library as a client of an authorization server with mutual TLS, its JsonWebSignature for the
 * tokens. It has neither discovery, introspection nor revocation: these are plain requests of its HTTP client here.
 * Usage: P12_PASSWORD=... java GoogleOauthClient SETUP
 */
class GoogleOauthClient {
    private static final GsonFactory JSON = GsonFactory.getDefaultInstance();
    private static final Base64.Encoder BASE64URL = Base64.getUrlEncoder().withoutPadding();
    private static final char[] PASSWORD = System.getenv("P12_PASSWORD").toCharArray();

    private final GenericJson setup;
    private final GenericJson metadata;

    public static void main(String[] arguments) throws Exception {
        System.out.println("client: google-oauth-client " + System.getenv("INTEROP_VERSIONS"));
        try (var file = new FileInputStream(arguments[0])) {
            var client = new GoogleOauthClient(JSON.fromInputStream(file, GenericJson.class));
            for (Object registered : (List<?>) client.setup.get("clients")) {
                client.lifeOfAToken(map(registered));
            }
        }
    }

    GoogleOauthClient(GenericJson setup) throws Exception {
        this.setup = setup;
        this.metadata = discover("oauth-authorization-server", "rfc8414");
        mustBe(discover("openid-configuration", "openid"), metadata, "the OpenID name");
    }

    private GenericJson discover(String name, String step) throws Exception {
        GenericJson found = get(setup.get("issuer") + "/.well-known/" + name);
        mustBe(found.get("issuer"), setup.get("issuer"), "issuer");
        passed(step, "-", "hand");
        return found;
    }

    private void lifeOfAToken(Map<?, ?> client) throws Exception {
        String method = text(client, "method");
        passed("alias", method, "hand");
        String token = fetchToken(client, client);
        passed("token", method, "library");
        verify(token, client);
        passed("jwt", method, "library");

        GenericJson seen = introspect(token);
        mustBe(seen.get("active"), true, "active");
        mustBe(seen.get("client_id"), client.get("client_id"), "client_id");
        mustBe(map(seen.get("cnf")).get("x5t#S256"), thumbprint(client), "cnf");
        passed("introspection", method, "hand");
        post(client, "revocation_endpoint", token).disconnect();
        passed("revocation", method, "hand");
        mustBe(introspect(token).getUnknownKeys(), Map.of("active", false), "introspection afterwards");
        passed("inactive", method, "hand");

        try {
            fetchToken(client, map(setup.get("resource_server")));
            throw new IllegalStateException("a token for the certificate of another");
        } catch (TokenResponseException refusal) {
            mustBe(refusal.getDetails().getError(), "invalid_client", "error");
        }
        passed("refusal", method, "library");
    }

    private String fetchToken(Map<?, ?> client, Map<?, ?> holder) throws Exception {
        var endpoint = new GenericUrl(alias("token_endpoint"));
        // Without a secret this adds client_id to the form and nothing else.
        var identity = new ClientParametersAuthentication(text(client, "client_id"), null);
        var request = new ClientCredentialsTokenRequest(transport(holder), JSON, endpoint);
        var answer = request.setClientAuthentication(identity).execute();
        mustBe(answer.getTokenType(), "Bearer", "token_type");
        return answer.getAccessToken();
    }

    private void verify(String token, Map<?, ?> client) throws Exception {
        var signed = JsonWebSignature.parser(JSON).setPayloadClass(JsonWebSignature.Payload.class).parse(token);
        var header = signed.getHeader();
        Map<?, ?> key = ((List<?>) get(text(metadata, "jwks_uri")).get("keys")).stream()
                .map(GoogleOauthClient::map)
                .filter(one -> header.getKeyId().equals(one.get("kid")))
                .findFirst()
                .orElseThrow();
        mustBe(signed.verifySignature(publicKey(key)), true, "the signature holds");
        var claims = signed.getPayload();
        mustBe(header.getType(), "at+jwt", "typ");
        mustBe(claims.getIssuer(), setup.get("issuer"), "iss");
        mustBe(claims.getAudience(), setup.get("audience"), "aud");
        mustBe(claims.get("client_id"), client.get("client_id"), "client_id");
        mustBe(map(claims.get("cnf")).get("x5t#S256"), thumbprint(client), "cnf");
        mustBe(claims.getExpirationTimeSeconds() > System.currentTimeMillis() / 1000, true, "in time");
    }

    /** The library verifies ES256 and RS256 and reads no JWK. */
    private static PublicKey publicKey(Map<?, ?> key) throws Exception {
        var parameters = AlgorithmParameters.getInstance("EC");
        parameters.init(new ECGenParameterSpec("secp256r1"));
        var point = new ECPoint(number(key, "x"), number(key, "y"));
        var spec = new ECPublicKeySpec(point, parameters.getParameterSpec(ECParameterSpec.class));
        return KeyFactory.getInstance("EC").generatePublic(spec);
    }

    private static BigInteger number(Map<?, ?> key, String name) {
        return new BigInteger(1, Base64.getUrlDecoder().decode(text(key, name)));
    }

    private GenericJson introspect(String token) throws Exception {
        return post(map(setup.get("resource_server")), "introspection_endpoint", token).parseAs(GenericJson.class);
    }

    private HttpResponse post(Map<?, ?> holder, String endpoint, String token) throws Exception {
        var form = new UrlEncodedContent(Map.of("client_id", text(holder, "client_id"), "token", token));
        return requests(holder).buildPostRequest(new GenericUrl(alias(endpoint)), form).execute();
    }

    private GenericJson get(String url) throws Exception {
        return requests(null).buildGetRequest(new GenericUrl(url)).execute().parseAs(GenericJson.class);
    }

    private HttpRequestFactory requests(Map<?, ?> holder) throws Exception {
        return transport(holder).createRequestFactory(request -> request.setParser(new JsonObjectParser(JSON)));
    }

    /** Trusts the server's CA and shows the certificate of {@code holder}, if there is one. */
    private HttpTransport transport(Map<?, ?> holder) throws Exception {
        KeyManager[] mine = null;
        if (holder != null) {
            var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(store(holder), PASSWORD);
            mine = keys.getKeyManagers();
        }
        KeyStore anchors = KeyStore.getInstance("PKCS12");
        anchors.load(null, null);
        try (var file = new FileInputStream(text(setup, "ca"))) {
            anchors.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(anchors);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(mine, trust.getTrustManagers(), null);
        return new NetHttpTransport.Builder().setSslSocketFactory(context.getSocketFactory()).build();
    }

    private static KeyStore store(Map<?, ?> holder) throws Exception {
        return KeyStore.getInstance(Path.of(text(holder, "pkcs12")).toFile(), PASSWORD);
    }

    private static String thumbprint(Map<?, ?> holder) throws Exception {
        KeyStore store = store(holder);
        byte[] der = store.getCertificate(store.aliases().nextElement()).getEncoded();
        return BASE64URL.encodeToString(MessageDigest.getInstance("SHA-256").digest(der));
    }

    private String alias(String endpoint) {
        return text(map(metadata.get("mtls_endpoint_aliases")), endpoint);
    }

    private static Map<?, ?> map(Object value) {
        return (Map<?, ?>) value;
    }

    private static String text(Map<?, ?> from, String name) {
        return (String) from.get(name);
    }

    private static void mustBe(Object seen, Object expected, String what) {
        if (!Objects.equals(seen, expected)) {
            throw new IllegalStateException(what + ": " + seen + " in place of " + expected);
        }
    }

    /** {@code how} is "library", or "hand" where the library has no such function. */
    private static void passed(String step, String method, String how) {
        System.out.println(step + " " + method + " " + how);
    }
}
