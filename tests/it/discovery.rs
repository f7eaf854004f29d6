//! What clients read first: metadata (RFC 8414, RFC 8705 §5) and the key set.

use certbound::http::Kind;
use serde_json::json;

use crate::support::{Server, Setup};

#[test]
fn the_metadata_says_what_works_and_nothing_else() {
    let server = Server::start();
    let methods = json!(["tls_client_auth", "self_signed_tls_client_auth"]);
    let expected = json!({
        "issuer": "https://as.example.com",
        "token_endpoint": "https://as.example.com/token",
        "introspection_endpoint": "https://as.example.com/introspect",
        "revocation_endpoint": "https://as.example.com/revoke",
        "jwks_uri": "https://as.example.com/jwks",
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
        "introspection_signing_alg_values_supported": ["ES256"],
        "tls_client_certificate_bound_access_tokens": true,
        "mtls_endpoint_aliases": {
            "token_endpoint": "https://as.example.com/token",
            "introspection_endpoint": "https://as.example.com/introspect",
            "revocation_endpoint": "https://as.example.com/revoke",
        },
    });
    for kind in [Kind::Mtls, Kind::Public] {
        for name in ["oauth-authorization-server", "openid-configuration"] {
            let mut connection = server.try_connect(kind, None, None).unwrap();
            let answer = connection.get(&format!("/.well-known/{name}")).unwrap();
            assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
            assert_eq!(answer.json(), expected);
        }
    }
}

#[test]
fn a_path_of_the_issuer_and_of_the_alias_is_before_every_endpoint() {
    let setup = Setup {
        issuer: "https://as.example.com/t1".to_owned(),
        more: "mtls_base_url: https://mtls.example.com/m\nservice_documentation: https://docs.example.com/\n"
            .to_owned(),
        ..Setup::new()
    };
    let server = setup.start();
    let get = |path: &str| server.connect(None).get(path).unwrap();
    for path in [
        "/.well-known/oauth-authorization-server/t1",
        "/.well-known/openid-configuration/t1",
        "/t1/.well-known/openid-configuration",
    ] {
        let metadata = get(path);
        assert_eq!(metadata.status, 200, "{path}");
        assert_eq!(metadata.json()["token_endpoint"], "https://as.example.com/t1/token");
        assert_eq!(
            metadata.json()["mtls_endpoint_aliases"]["token_endpoint"],
            "https://mtls.example.com/m/token"
        );
        assert_eq!(metadata.json()["service_documentation"], "https://docs.example.com/");
    }
    for path in
        ["/.well-known/oauth-authorization-server", "/t1/.well-known/oauth-authorization-server", "/jwks"]
    {
        assert_eq!(get(path).status, 404, "{path}");
    }
    let billing = server.setup.pki.client("billing.example.com");
    let form = [("grant_type", "client_credentials"), ("client_id", "billing")];
    for (path, status) in [("/t1/token", 200), ("/m/token", 200), ("/token", 404), ("/t1/t1/token", 404)] {
        assert_eq!(server.connect(Some(&billing)).post(path, &form).unwrap().status, status, "{path}");
    }
}

#[test]
fn a_host_header_changes_nothing() {
    let server = Server::start();
    let mut connection = server.connect(None);
    connection
        .send(b"GET /.well-known/oauth-authorization-server HTTP/1.1\r\nHost: evil.example\r\nX-Forwarded-Host: evil.example\r\n\r\n")
        .unwrap();
    assert_eq!(connection.receive().unwrap().json()["issuer"], "https://as.example.com");
}

#[test]
fn documents_can_be_read_and_asked_about_and_nothing_else() {
    let server = Server::start();
    for path in ["/jwks", "/.well-known/oauth-authorization-server"] {
        let mut connection = server.connect(None);
        connection.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        let head = connection.receive_head().unwrap();
        assert_eq!((head.status, head.header("cache-control")), (200, Some("max-age=300")));
        let post = server.connect(None).post(path, &[]).unwrap();
        assert_eq!(
            (post.status, post.header("allow"), post.error().as_str()),
            (405, Some("GET, HEAD"), "invalid_request")
        );
    }
}
