// A token with Go's net/http.
// Usage: go run main.go URL CLIENT_ID CERTIFICATE KEY CA
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"time"
)

func fetchToken(endpoint, clientID, certificate, key, ca string) ([]byte, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, err
	}
	anchors, err := os.ReadFile(ca)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(anchors) {
		return nil, fmt.Errorf("%s: no certificate in it", ca)
	}
	settings := &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: roots}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: settings}}

	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}}
	response, err := client.PostForm(endpoint, form)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, answer)
	}
	return answer, err
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 6 {
		log.Fatal("usage: main URL CLIENT_ID CERTIFICATE KEY CA")
	}
	answer, err := fetchToken(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(answer))
}
