// A static program with Go's own resolver and system calls, which no preloaded library reaches. `main NETWORK ADDRESS` dials, says hello and prints the peer and
// what it answers.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

func main() {
	if err := call(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(network, address string) error {
	connection, err := net.DialTimeout(network, address, 10*time.Second)
	if err != nil {
		return err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(connection, "hello\n"); err != nil {
		return err
	}
	answer := make([]byte, 512)
	n, err := connection.Read(answer)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s", connection.RemoteAddr(), answer[:n])
	return nil
}
