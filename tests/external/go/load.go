package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "github.com/lancegate/lancegate/gen/go/lancegate/v1"
)

const (
	channels = 4
	loops    = 8
	// Answers that every loop must have before the server is asked to stop.
	warmUp = 5
)

// What became of the requests of all loops.
type outcome struct {
	answered, refused, failed atomic.Uint64
	mu                        sync.Mutex
	failures                  []string
}

func (o *outcome) fail(err error) {
	o.failed.Add(1)
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failures) < 10 {
		o.failures = append(o.failures, err.Error())
	}
}

// neverAccepted tells a request that no server ever saw: the port was closed
// when the channel dialled, or the connection ended in the queue of the port,
// before its first HTTP/2 frame. Anything else that goes wrong, a connection
// lost with the request on it included, is a failure of the server.
func neverAccepted(err error) bool {
	text := err.Error()
	return status.Code(err) == codes.Unavailable &&
		(strings.Contains(text, "Error while dialing") || strings.Contains(text, "error reading server preface"))
}

// load searches in eight loops over four channels until the server is gone.
// It makes the file `ready` when all loops have had answers.
func load(address, ready string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var result outcome
	var warm, done sync.WaitGroup
	warm.Add(loops)
	gates := make([]*gate, channels)
	for i := range gates {
		// A pick that fails at once, instead of waiting for the port to open again.
		g, err := dial(address, grpc.WithDefaultCallOptions(grpc.WaitForReady(false)))
		if err != nil {
			return err
		}
		defer g.conn.Close()
		gates[i] = g
	}
	for i := range loops {
		done.Go(func() { searchUntilRefused(ctx, gates[i%channels], i, &result, &warm) })
	}
	warm.Wait()
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		return err
	}
	began := time.Now()
	done.Wait()
	fmt.Printf("%d answered, %d not accepted (port closed), %d failed; the last loop ended %.1f s after the start of the drain\n",
		result.answered.Load(), result.refused.Load(), result.failed.Load(), time.Since(began).Seconds())
	if result.failed.Load() > 0 {
		return fmt.Errorf("accepted requests failed: %s", strings.Join(result.failures, "; "))
	}
	if result.refused.Load() != loops {
		return fmt.Errorf("%d of %d loops saw the port close", result.refused.Load(), loops)
	}
	return nil
}

func searchUntilRefused(ctx context.Context, g *gate, loop int, result *outcome, warm *sync.WaitGroup) {
	for request := 0; ; request++ {
		var err error
		// Streams are on their way for longer: one request in four.
		if (loop+request)%4 == 0 {
			err = streamOnce(ctx, g)
		} else {
			_, err = g.search.Search(ctx, &pb.SearchRequest{Table: "packages", Query: textQuery("library", 20, "id", "title")})
		}
		switch {
		case err == nil:
			result.answered.Add(1)
		case neverAccepted(err):
			result.refused.Add(1)
		default:
			result.fail(err)
		}
		if request == warmUp-1 || (err != nil && request < warmUp-1) {
			warm.Done()
		}
		if err != nil {
			return
		}
	}
}

// streamOnce reads a large answer, vectors included, to its end.
func streamOnce(ctx context.Context, g *gate) error {
	stream, err := g.search.SearchStream(ctx, &pb.SearchStreamRequest{Table: "packages", Query: textQuery("library", 500)})
	if err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func textQuery(words string, limit uint32, columns ...string) *pb.Query {
	return &pb.Query{
		FullText: &pb.FullTextQuery{Query: &pb.FullTextQuery_Text{Text: words}},
		Limit:    limit,
		Columns:  columns,
	}
}
