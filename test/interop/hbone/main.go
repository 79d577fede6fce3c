// Speaks HBONE with Istio's own package, as a client or a server, for the tests of Starlane's tunnels.
//
//	client GATEWAY TARGET FOLDER ID            sends what it reads, in one piece, and prints as many bytes of the answer
//	double GATEWAY TARGET FOLDER ID WORKLOAD   the same through a tunnel within the tunnel, to a workload with the id WORKLOAD
//	server FOLDER [ADDRESS]                    prints its address, and connects whatever it is asked for
//
// FOLDER has tls.crt, tls.key and ca.crt; the gateway must have the SPIFFE id ID.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"istio.io/istio/pkg/hbone"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 5 && args[0] == "client":
		return client(args[1], args[2], args[3], args[4], "")
	case len(args) == 6 && args[0] == "double":
		return client(args[1], args[2], args[3], args[4], args[5])
	case len(args) == 2 && args[0] == "server":
		return server(args[1], "127.0.0.1:0")
	case len(args) == 3 && args[0] == "server":
		return server(args[1], args[2])
	}
	return errors.New("usage: client GATEWAY TARGET FOLDER ID, double GATEWAY TARGET FOLDER ID WORKLOAD, or server FOLDER [ADDRESS]")
}

func client(gateway, target, folder, id, workload string) error {
	outer, err := expecting(folder, id)
	if err != nil {
		return err
	}
	dialer := hbone.NewDialer(hbone.Config{ProxyAddress: gateway, TLS: outer})
	if workload != "" {
		inner, err := expecting(folder, workload)
		if err != nil {
			return err
		}
		inner.NextProtos = []string{"h2"}
		// The package takes the address of the gateway for the inner request too.
		dialer = hbone.NewDoubleDialer(hbone.Config{ProxyAddress: gateway, TLS: outer}, hbone.Config{ProxyAddress: gateway, TLS: inner}, inner)
	}
	connection, err := dialer.Dial("tcp", target)
	if err != nil {
		return err
	}
	defer connection.Close()
	question, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	go connection.Write(question)
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(connection, answer); err != nil {
		return err
	}
	_, err = os.Stdout.Write(answer)
	return err
}

// A gateway or workload is known by its SPIFFE id: there is no host name to verify.
func expecting(folder, id string) (*tls.Config, error) {
	config, roots, err := credentials(folder)
	if err != nil {
		return nil, err
	}
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		leaf := state.PeerCertificates[0]
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != id {
			return fmt.Errorf("it has %v, and not %s", leaf.URIs, id)
		}
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots})
		return err
	}
	return config, nil
}

func server(folder, address string) error {
	config, roots, err := credentials(folder)
	if err != nil {
		return err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = roots
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	// It ends with the test that has started it.
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	server := hbone.NewServer()
	server.TLSConfig = config
	server.Protocols.SetHTTP2(true)
	return server.ServeTLS(listener, "", "")
}

func credentials(folder string) (*tls.Config, *x509.CertPool, error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key"))
	if err != nil {
		return nil, nil, err
	}
	pem, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}}, roots, nil
}
