import com.nimbusds.jose.JOSEObjectType;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.proc.DefaultJOSEObjectTypeVerifier;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.oauth2.sdk.*;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerEndpointMetadata;
import com.nimbusds.oauth2.sdk.as.AuthorizationServerMetadata;
import com.nimbusds.oauth2.sdk.auth.*;
import com.nimbusds.oauth2.sdk.cnf.X509CertificateConfirmation;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.oauth2.sdk.token.AccessToken;
import java.io.FileInputStream;
import java.net.URL;
import java.nio.file.*;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.*;
import javax.net.ssl.*;

/**
 * The OAuth 2.0 SDK of Nimbus as a client of an authorization server with mutual TLS. Its class for OpenID metadata
 * wants what only a provider of identities has, so that document is parsed as RFC 8414 metadata.
 * Usage: P12_PASSWORD=... java NimbusClient SETUP
 */
class NimbusClient {
    private static final char[] PASSWORD = System.getenv("P12_PASSWORD").toCharArray();
    private static final Set<JWSAlgorithm> ALGORITHMS =
            Set.of(JWSAlgorithm.ES256, JWSAlgorithm.PS256, JWSAlgorithm.RS256, JWSAlgorithm.EdDSA);

    private final Map<String, Object> setup;
    private final AuthorizationServerMetadata metadata;
    private final AuthorizationServerEndpointMetadata aliases;

    public static void main(String[] arguments) throws Exception {
        System.out.println("client: Nimbus oauth2-oidc-sdk " + TokenRequest.class.getPackage().getImplementationVersion());
        var client = new NimbusClient(JSONObjectUtils.parse(Files.readString(Path.of(arguments[0]))));
        for (Object registered : (List<?>) client.setup.get("clients")) {
            client.lifeOfAToken((Map<?, ?>) registered);
        }
    }

    NimbusClient(Map<String, Object> setup) throws Exception {
        this.setup = setup;
        HTTPRequest.setDefaultSSLSocketFactory(tls(null));
        var issuer = new Issuer((String) setup.get("issuer"));
        metadata = AuthorizationServerMetadata.resolve(issuer);
        passed("rfc8414", "-", "library");
        var named = AuthorizationServerMetadata.parse(get(issuer + "/.well-known/openid-configuration"));
        mustBe(named.toJSONObject(), metadata.toJSONObject(), "the OpenID name");
        passed("openid", "-", "hand");
        aliases = metadata.getMtlsEndpointAliases();
    }

    private void lifeOfAToken(Map<?, ?> client) throws Exception {
        String method = text(client, "method");
        passed("alias", method, "library");
        AccessToken token = fetchToken(client, client).toSuccessResponse().getTokens().getAccessToken();
        passed("token", method, "library");
        verify(token, client);
        passed("jwt", method, "library");

        var seen = introspect(token);
        mustBe(seen.isActive(), true, "active");
        mustBe(seen.getClientID().getValue(), client.get("client_id"), "client_id");
        mustBe(seen.getX509CertificateConfirmation(), confirmation(client), "cnf");
        passed("introspection", method, "library");
        var revocation = new TokenRevocationRequest(aliases.getRevocationEndpointURI(), identity(client, client), token);
        mustBe(revocation.toHTTPRequest().send().getStatusCode(), 200, "revocation");
        passed("revocation", method, "library");
        mustBe(introspect(token).isActive(), false, "active afterwards");
        passed("inactive", method, "library");

        var refusal = fetchToken(client, (Map<?, ?>) setup.get("resource_server"));
        mustBe(refusal.indicatesSuccess(), false, "a token for the certificate of another");
        mustBe(refusal.toErrorResponse().getErrorObject(), OAuth2Error.INVALID_CLIENT, "error");
        passed("refusal", method, "library");
    }

    private TokenResponse fetchToken(Map<?, ?> client, Map<?, ?> holder) throws Exception {
        var endpoint = aliases.getTokenEndpointURI();
        var request = new TokenRequest(endpoint, identity(client, holder), new ClientCredentialsGrant(), (Scope) null);
        return TokenResponse.parse(request.toHTTPRequest().send());
    }

    private TokenIntrospectionSuccessResponse introspect(AccessToken token) throws Exception {
        var server = (Map<?, ?>) setup.get("resource_server");
        var endpoint = aliases.getIntrospectionEndpointURI();
        var request = new TokenIntrospectionRequest(endpoint, identity(server, server), token);
        return TokenIntrospectionResponse.parse(request.toHTTPRequest().send()).toSuccessResponse();
    }

    private ClientAuthentication identity(Map<?, ?> client, Map<?, ?> holder) throws Exception {
        var id = new ClientID(text(client, "client_id"));
        return client.get("method").equals("tls_client_auth")
                ? new PKITLSClientAuthentication(id, tls(holder))
                : new SelfSignedTLSClientAuthentication(id, tls(holder));
    }

    private void verify(AccessToken token, Map<?, ?> client) throws Exception {
        var keys = new ImmutableJWKSet<SecurityContext>(JWKSet.parse(get(metadata.getJWKSetURI().toString())));
        var processor = new DefaultJWTProcessor<SecurityContext>();
        processor.setJWSTypeVerifier(new DefaultJOSEObjectTypeVerifier<>(new JOSEObjectType("at+jwt")));
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(ALGORITHMS, keys));
        var exact = new JWTClaimsSet.Builder()
                .issuer((String) setup.get("issuer"))
                .claim("client_id", client.get("client_id"))
                .build();
        var required = Set.of("exp", "iat", "sub", "jti", "cnf");
        processor.setJWTClaimsSetVerifier(
                new DefaultJWTClaimsVerifier<>((String) setup.get("audience"), exact, required));
        var claims = processor.process(token.getValue(), null);
        mustBe(X509CertificateConfirmation.parse(claims), confirmation(client), "cnf");
    }

    private static X509CertificateConfirmation confirmation(Map<?, ?> holder) throws Exception {
        KeyStore store = store(holder);
        var certificate = (X509Certificate) store.getCertificate(store.aliases().nextElement());
        return X509CertificateConfirmation.of(certificate);
    }

    private static String get(String url) throws Exception {
        return new HTTPRequest(HTTPRequest.Method.GET, new URL(url)).send().getBody();
    }

    /** Trusts the server's CA and shows the certificate of {@code holder}, if there is one. */
    private SSLSocketFactory tls(Map<?, ?> holder) throws Exception {
        KeyManager[] mine = null;
        if (holder != null) {
            var keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(store(holder), PASSWORD);
            mine = keys.getKeyManagers();
        }
        KeyStore anchors = KeyStore.getInstance("PKCS12");
        anchors.load(null, null);
        try (var file = new FileInputStream((String) setup.get("ca"))) {
            anchors.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(file));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(anchors);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(mine, trust.getTrustManagers(), null);
        return context.getSocketFactory();
    }

    private static KeyStore store(Map<?, ?> holder) throws Exception {
        return KeyStore.getInstance(Path.of(text(holder, "pkcs12")).toFile(), PASSWORD);
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
