// The external checks' Go client: generated stubs, grpc-go and Arrow's Go
// library, none of it ours. The stubs are generated next to a copy of this
// folder (see tools.sh); they are not in the repository.
package main

import (
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	pb "github.com/lancegate/lancegate/gen/go/lancegate/v1"
)

// No check takes longer than this, or something hangs.
const patience = 120 * time.Second

// A channel to the server, with the stubs over it.
type gate struct {
	conn    *grpc.ClientConn
	search  pb.SearchServiceClient
	write   pb.WriteServiceClient
	table   pb.TableServiceClient
	cluster pb.ClusterServiceClient
}

// dial makes a channel without retries: a failure must be seen, not hidden.
func dial(address string, options ...grpc.DialOption) (*gate, error) {
	options = append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	conn, err := grpc.NewClient(address, options...)
	if err != nil {
		return nil, err
	}
	return &gate{
		conn:    conn,
		search:  pb.NewSearchServiceClient(conn),
		write:   pb.NewWriteServiceClient(conn),
		table:   pb.NewTableServiceClient(conn),
		cluster: pb.NewClusterServiceClient(conn),
	}, nil
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return fmt.Errorf("usage: go-client roundtrip|probe|load|write|digest ADDRESS [...]")
	}
	command, address, rest := arguments[0], arguments[1], arguments[2:]
	switch {
	case command == "probe" && len(rest) == 1:
		os.Exit(probe(address, rest[0]))
		return nil
	case command == "load" && len(rest) == 1:
		return load(address, rest[0])
	case command == "roundtrip":
		return roundtrip(address)
	case command == "write":
		return writeSome(address)
	case command == "digest":
		return digest(address)
	}
	return fmt.Errorf("no such command: %v", arguments)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
