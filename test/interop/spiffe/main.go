// Fetches the X.509 identities of this process with SPIFFE's own client, and says what came as one line of JSON, for the tests of Starlane's
// client of the Workload API: the server of those tests must be one that this accepts.
//
//	fetch ENDPOINT
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

type identity struct {
	ID           string `json:"id"`
	Certificates int    `json:"certificates"`
	Serial       string `json:"serial"`
}

type answer struct {
	Identities []identity `json:"identities"`
	// The roots of each trust domain.
	Bundles map[string]int `json:"bundles"`
	// Whether each certificate leads to the roots of its own trust domain.
	Verified bool `json:"verified"`
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 || args[0] != "fetch" {
		return errors.New("usage: fetch ENDPOINT")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	fetched, err := workloadapi.FetchX509Context(ctx, workloadapi.WithAddr(args[1]))
	if err != nil {
		return err
	}
	said := answer{Bundles: map[string]int{}, Verified: true}
	for _, svid := range fetched.SVIDs {
		said.Identities = append(said.Identities, identity{
			ID:           svid.ID.String(),
			Certificates: len(svid.Certificates),
			Serial:       fmt.Sprintf("%X", svid.Certificates[0].SerialNumber),
		})
		if _, _, err := x509svid.Verify(svid.Certificates, fetched.Bundles); err != nil {
			said.Verified = false
		}
	}
	for _, bundle := range fetched.Bundles.Bundles() {
		said.Bundles[bundle.TrustDomain().Name()] = len(bundle.X509Authorities())
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}
