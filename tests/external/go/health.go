package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Exit codes of grpc_health_probe.
const (
	exitServing    = 0
	exitConnection = 2
	exitCall       = 3
	exitNotServing = 4
)

// probe asks the standard health service about one service.
func probe(address, service string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	g, err := dial(address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitConnection
	}
	defer g.conn.Close()
	answer, err := healthpb.NewHealthClient(g.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: service})
	switch {
	case status.Code(err) == codes.Unavailable:
		fmt.Fprintln(os.Stderr, err)
		return exitConnection
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return exitCall
	case answer.Status != healthpb.HealthCheckResponse_SERVING:
		return exitNotServing
	}
	return exitServing
}

// watchHealth checks the first answer of Watch for services that are there and
// for one that is not, whose stream must stay open, and the names that List has.
func watchHealth(ctx context.Context, g *gate) error {
	client := healthpb.NewHealthClient(g.conn)
	wanted := map[string]healthpb.HealthCheckResponse_ServingStatus{
		"":                            healthpb.HealthCheckResponse_SERVING,
		"lancegate.v1.SearchService":  healthpb.HealthCheckResponse_SERVING,
		"lancegate.v1.WriteService":   healthpb.HealthCheckResponse_SERVING,
		"lancegate.v1.TableService":   healthpb.HealthCheckResponse_SERVING,
		"lancegate.v1.ClusterService": healthpb.HealthCheckResponse_SERVING,
		"liveness":                    healthpb.HealthCheckResponse_SERVING,
		"no.such.Service":             healthpb.HealthCheckResponse_SERVICE_UNKNOWN,
	}
	for service, want := range wanted {
		if err := watchOnce(ctx, client, service, want); err != nil {
			return err
		}
	}
	list, err := client.List(ctx, &healthpb.HealthListRequest{})
	if err != nil {
		return fmt.Errorf("List: %w", err)
	}
	for service, want := range wanted {
		if want == healthpb.HealthCheckResponse_SERVING && list.Statuses[service].GetStatus() != want {
			return fmt.Errorf("List says %v for %q", list.Statuses[service].GetStatus(), service)
		}
	}
	return nil
}

func watchOnce(ctx context.Context, client healthpb.HealthClient, service string, want healthpb.HealthCheckResponse_ServingStatus) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	stream, err := client.Watch(ctx, &healthpb.HealthCheckRequest{Service: service})
	if err != nil {
		return fmt.Errorf("Watch of %q: %w", service, err)
	}
	answer, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("Watch of %q: %w", service, err)
	}
	if answer.Status != want {
		return fmt.Errorf("Watch of %q says %v, not %v", service, answer.Status, want)
	}
	if service != "no.such.Service" {
		return nil
	}
	// Nothing changes: the stream must outlast this call's own deadline.
	if _, err = stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		return fmt.Errorf("Watch of %q did not stay open: %v", service, err)
	}
	return nil
}
