// golang.org/x/oauth2/clientcredentials as a client of an authorization server with mutual TLS, with go-oidc for
// discovery and keys and go-jose for the tokens. Neither has introspection or revocation: these are plain requests.
// Usage: main SETUP
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"

	oidc "github.com/coreos/go-oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"gopkg.in/square/go-jose.v2/jwt"
)

type holder struct {
	ClientID, Method, Certificate, Key string
}

type setup struct {
	Issuer, CA, Audience string
	Clients              []holder
	ResourceServer       holder
}

type metadata struct {
	Issuer  string `json:"issuer"`
	JwksURI string `json:"jwks_uri"`
	Aliases struct {
		Token         string `json:"token_endpoint"`
		Introspection string `json:"introspection_endpoint"`
		Revocation    string `json:"revocation_endpoint"`
	} `json:"mtls_endpoint_aliases"`
}

type confirmation struct {
	X5t string `json:"x5t#S256"`
}

type introspection struct {
	Active   bool         `json:"active"`
	ClientID string       `json:"client_id"`
	Cnf      confirmation `json:"cnf"`
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func mustBe[T comparable](seen, expected T, what string) {
	if seen != expected {
		log.Fatalf("%s: %v in place of %v", what, seen, expected)
	}
}

// `how` is "library", or "hand" where the libraries have no such function.
func passed(step, method, how string) {
	fmt.Println(step, method, how)
}

func read() (given setup) {
	text, err := os.ReadFile(os.Args[1])
	must(err)
	var written struct {
		Issuer, CA, Audience string
		Clients              []map[string]string
		ResourceServer       map[string]string `json:"resource_server"`
	}
	must(json.Unmarshal(text, &written))
	as := func(it map[string]string) holder {
		return holder{it["client_id"], it["method"], it["certificate"], it["key"]}
	}
	given = setup{Issuer: written.Issuer, CA: written.CA, Audience: written.Audience}
	given.ResourceServer = as(written.ResourceServer)
	for _, client := range written.Clients {
		given.Clients = append(given.Clients, as(client))
	}
	return given
}

// An HTTP client that trusts the server's CA and shows the certificate of `who`, if there is one.
func (given setup) http(who *holder) (*http.Client, string) {
	anchors, err := os.ReadFile(given.CA)
	must(err)
	settings := &tls.Config{RootCAs: x509.NewCertPool()}
	settings.RootCAs.AppendCertsFromPEM(anchors)
	thumbprint := ""
	if who != nil {
		pair, err := tls.LoadX509KeyPair(who.Certificate, who.Key)
		must(err)
		settings.Certificates = []tls.Certificate{pair}
		digest := sha256.Sum256(pair.Certificate[0])
		thumbprint = base64.RawURLEncoding.EncodeToString(digest[:])
	}
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: settings}}, thumbprint
}

func (given setup) with(who *holder) context.Context {
	client, _ := given.http(who)
	return context.WithValue(context.Background(), oauth2.HTTPClient, client)
}

func (given setup) post(who holder, endpoint string, form url.Values) []byte {
	client, _ := given.http(&who)
	form.Set("client_id", who.ClientID)
	response, err := client.PostForm(endpoint, form)
	must(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(err)
	mustBe(response.StatusCode, http.StatusOK, endpoint+": "+string(body))
	return body
}

func (given setup) introspect(found metadata, token string) (seen introspection) {
	body := given.post(given.ResourceServer, found.Aliases.Introspection, url.Values{"token": {token}})
	must(json.Unmarshal(body, &seen))
	return seen
}

// Discovery by RFC 8414 is a plain request; by the OpenID name go-oidc does it and checks the issuer.
func (given setup) discover() (found metadata) {
	client, _ := given.http(nil)
	response, err := client.Get(given.Issuer + "/.well-known/oauth-authorization-server")
	must(err)
	defer response.Body.Close()
	must(json.NewDecoder(response.Body).Decode(&found))
	mustBe(found.Issuer, given.Issuer, "issuer")
	passed("rfc8414", "-", "hand")

	provider, err := oidc.NewProvider(oidc.ClientContext(context.Background(), client), given.Issuer)
	must(err)
	var named metadata
	must(provider.Claims(&named))
	mustBe(named, found, "the OpenID name")
	passed("openid", "-", "library")
	return found
}

func (given setup) verify(found metadata, token string, client holder) {
	plain, _ := given.http(nil)
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), plain), found.JwksURI)
	payload, err := keys.VerifySignature(context.Background(), token)
	must(err)
	var claims struct {
		jwt.Claims
		ClientID string       `json:"client_id"`
		Cnf      confirmation `json:"cnf"`
	}
	must(json.Unmarshal(payload, &claims))
	expected := jwt.Expected{Issuer: given.Issuer, Audience: jwt.Audience{given.Audience}, Time: time.Now()}
	must(claims.Validate(expected))
	parsed, err := jwt.ParseSigned(token)
	must(err)
	mustBe(fmt.Sprint(parsed.Headers[0].ExtraHeaders["typ"]), "at+jwt", "typ")
	_, thumbprint := given.http(&client)
	mustBe(claims.Cnf.X5t, thumbprint, "cnf")
	mustBe(claims.ClientID, client.ClientID, "client_id")
}

func (given setup) lifeOfAToken(found metadata, client holder) {
	passed("alias", client.Method, "hand")
	// AuthStyleInParams: otherwise the library tries HTTP Basic first.
	credentials := clientcredentials.Config{
		ClientID:  client.ClientID,
		TokenURL:  found.Aliases.Token,
		AuthStyle: oauth2.AuthStyleInParams,
	}
	token, err := credentials.Token(given.with(&client))
	must(err)
	mustBe(token.Type(), "Bearer", "token_type")
	passed("token", client.Method, "library")
	given.verify(found, token.AccessToken, client)
	passed("jwt", client.Method, "library")

	_, thumbprint := given.http(&client)
	expected := introspection{true, client.ClientID, confirmation{thumbprint}}
	mustBe(given.introspect(found, token.AccessToken), expected, "introspection")
	passed("introspection", client.Method, "hand")
	given.post(client, found.Aliases.Revocation, url.Values{"token": {token.AccessToken}})
	passed("revocation", client.Method, "hand")
	mustBe(given.introspect(found, token.AccessToken), introspection{}, "introspection afterwards")
	passed("inactive", client.Method, "hand")

	_, err = credentials.Token(given.with(&given.ResourceServer))
	var refusal *oauth2.RetrieveError
	if !errors.As(err, &refusal) {
		log.Fatalf("the certificate of another: %v", err)
	}
	var said struct{ Error string }
	must(json.Unmarshal(refusal.Body, &said))
	mustBe(said.Error, "invalid_client", "error")
	passed("refusal", client.Method, "library")
}

func main() {
	log.SetFlags(0)
	given := read()
	fmt.Println("client: golang.org/x/oauth2", os.Getenv("INTEROP_VERSIONS"))
	found := given.discover()
	for _, client := range given.Clients {
		given.lifeOfAToken(found, client)
	}
}
