package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // offers and takes gzip
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "github.com/lancegate/lancegate/gen/go/lancegate/v1"
)

const (
	table = "go_table"
	rows  = 400
	width = 16
)

var schema = &pb.Schema{Fields: []*pb.Field{
	{Name: "id", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_INT64}, Nullable: true},
	{Name: "title", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_UTF8}, Nullable: true},
	{Name: "at", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_TIMESTAMP, Unit: pb.TimeUnit_TIME_UNIT_NANOSECOND, Timezone: "UTC"}, Nullable: true},
	{Name: "tags", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_LIST, Children: []*pb.Field{
		{Name: "item", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_UTF8}, Nullable: true},
	}}, Nullable: true},
	{Name: "vector", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_FIXED_SIZE_LIST, Size: width, Children: []*pb.Field{
		{Name: "item", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_FLOAT32}, Nullable: true},
	}}, Nullable: true},
}}

// vectorOf is a vector of its own for every number, on a circle per dimension.
func vectorOf(n int) []float32 {
	v := make([]float32, width)
	for i := range v {
		v[i] = float32(math.Sin(float64(n) * (0.01 + 0.037*float64(i))))
	}
	return v
}

// rowOf is a row with a 64-bit integer that no float can hold, and a null.
func rowOf(n int) *pb.Row {
	title, tags := text(fmt.Sprintf("title number %d", n)), list(text("even"), text("number"))
	if n%2 == 1 {
		tags = null()
	}
	return row(integer(math.MaxInt64-int64(n)), title, instant(-1, uint32(n)), tags, vectorValue(vectorOf(n)))
}

// roundtrip creates, searches, changes and reads back one table.
func roundtrip(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g, err := dial(address)
	if err != nil {
		return err
	}
	defer g.conn.Close()
	for _, part := range []struct {
		name string
		run  func(context.Context, *gate) error
	}{
		{"health", watchHealth},
		{"create", create},
		{"search", searchBothWays},
		{"stream", streamAll},
		{"change", change},
		{"faults", faults},
		{"drop", drop},
	} {
		if err := part.run(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		fmt.Println("go", part.name, "ok")
	}
	return nil
}

func create(ctx context.Context, g *gate) error {
	var all []*pb.Row
	for n := range rows {
		all = append(all, rowOf(n))
	}
	made, err := g.table.CreateTable(ctx, &pb.CreateTableRequest{Table: table, Source: &pb.CreateTableRequest_Rows{Rows: typed(schema, all...)}})
	if err != nil {
		return err
	}
	if made.Served.GetRole() != pb.Role_ROLE_PRIMARY {
		return fmt.Errorf("a write was served by %v", made.Served)
	}
	index, err := g.table.CreateIndex(ctx, &pb.CreateIndexRequest{
		Table:   table,
		Columns: []string{"title"},
		Index:   &pb.IndexSpec{Kind: &pb.IndexSpec_Fts{Fts: &pb.FtsIndex{}}},
	})
	if err != nil {
		return err
	}
	if _, err := g.table.WaitForIndexes(ctx, &pb.WaitForIndexesRequest{Table: table}); err != nil {
		return err
	}
	return settle(ctx, g, index.Version)
}

// settle waits until every replica serves this version of the table.
func settle(ctx context.Context, g *gate, version uint64) error {
	for {
		topology, err := g.cluster.GetTopology(ctx, &pb.GetTopologyRequest{})
		if err != nil {
			return err
		}
		behind, replicas := 0, 0
		for _, connection := range topology.Connections {
			if connection.Role != pb.Role_ROLE_REPLICA {
				continue
			}
			replicas++
			behind++
			for _, position := range connection.Tables {
				if position.Table == table && position.Version >= version {
					behind--
				}
			}
		}
		if replicas == 0 {
			return errors.New("the topology has no replicas")
		}
		if behind == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d replicas did not reach version %d: %v", behind, version, topology)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// searchBothWays finds every row by its own vector, sent as floats and as bytes.
func searchBothWays(ctx context.Context, g *gate) error {
	served := map[string]int{}
	for n := range 20 {
		for _, vector := range []*pb.Vector{floats(vectorOf(n)), littleEndian(vectorOf(n))} {
			query := &pb.Query{Vectors: []*pb.Vector{vector}, Limit: 1}
			var header metadata.MD
			found, err := g.search.Search(ctx, &pb.SearchRequest{Table: table, Query: query, RowFormat: pb.RowFormat_ROW_FORMAT_TYPED},
				grpc.Header(&header), grpc.UseCompressor("gzip"))
			if err != nil {
				return err
			}
			if found.NumRows != 1 {
				return fmt.Errorf("%d rows for limit 1", found.NumRows)
			}
			// The columns of the table come first, in their order.
			got, want := found.Rows.GetTyped().Rows[0], rowOf(n)
			for i := range want.Values {
				if !same(got.Values[i], want.Values[i]) {
					return fmt.Errorf("row %d, %s: %v, not %v", n, schema.Fields[i].Name, got.Values[i], want.Values[i])
				}
			}
			if name := header.Get("x-lancegate-connection"); len(name) != 1 || name[0] != found.Served.GetConnection() {
				return fmt.Errorf("metadata names %v, the message %v", name, found.Served)
			}
			served[found.Served.GetConnection()]++
		}
	}
	if served["replica-1"] != 20 || served["replica-2"] != 20 {
		return fmt.Errorf("40 searches were not 20 for each replica: %v", served)
	}
	return nil
}

// streamAll puts the chunks of a streamed answer together and reads them as Arrow.
func streamAll(ctx context.Context, g *gate) error {
	stream, err := g.search.SearchStream(ctx, &pb.SearchStreamRequest{
		Table: table,
		Query: &pb.Query{Vectors: []*pb.Vector{floats(vectorOf(7))}, Limit: rows},
	})
	if err != nil {
		return err
	}
	var whole bytes.Buffer
	for first := true; ; first = false {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if first != (chunk.Served != nil) {
			return fmt.Errorf("served is %v, first message: %v", chunk.Served, first)
		}
		whole.Write(chunk.ArrowIpc)
	}
	reader, err := ipc.NewReader(&whole)
	if err != nil {
		return err
	}
	defer reader.Release()
	seen := map[int64]bool{}
	for reader.Next() {
		column := reader.Schema().FieldIndices("id")
		if len(column) != 1 {
			return fmt.Errorf("the answer has no column id: %v", reader.Schema())
		}
		ids, ok := reader.RecordBatch().Column(column[0]).(*array.Int64)
		if !ok {
			return fmt.Errorf("id is no int64: %v", reader.Schema())
		}
		for _, id := range ids.Int64Values() {
			seen[id] = true
		}
	}
	if err := reader.Err(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(seen) != rows || !seen[math.MaxInt64] {
		return fmt.Errorf("the stream has %d different ids, not %d", len(seen), rows)
	}
	return nil
}

// change upserts one row that is there and one that is not, and deletes one.
func change(ctx context.Context, g *gate) error {
	fresh := rowOf(rows)
	known := rowOf(3)
	known.Values[1] = text("a changed title")
	upserted, err := g.write.Upsert(ctx, &pb.UpsertRequest{Table: table, On: []string{"id"}, Rows: typed(schema, known, fresh)})
	if err != nil {
		return err
	}
	if upserted.NumInsertedRows != 1 || upserted.NumUpdatedRows != 1 {
		return fmt.Errorf("upsert: %v", upserted)
	}
	gone := rowOf(4).Values[0]
	deleted, err := g.write.Delete(ctx, &pb.DeleteRequest{Table: table, Filter: &pb.Filter{Sql: "id = $1", Params: []*pb.Value{gone}}})
	if err != nil {
		return err
	}
	if deleted.NumDeletedRows != 1 {
		return fmt.Errorf("delete: %v", deleted)
	}
	if err := settle(ctx, g, deleted.Version); err != nil {
		return err
	}
	got, err := g.search.Get(ctx, &pb.GetRequest{
		Table:      table,
		KeyColumns: []string{"id"},
		Keys:       []*pb.Row{row(known.Values[0]), row(gone), row(fresh.Values[0])},
		RowFormat:  pb.RowFormat_ROW_FORMAT_TYPED,
	})
	if err != nil {
		return err
	}
	want := []*pb.Row{known, fresh}
	if int(got.NumRows) != len(want) {
		return fmt.Errorf("get: %d rows, not %d", got.NumRows, len(want))
	}
	for i := range want {
		if !slices.EqualFunc(got.Rows.GetTyped().Rows[i].Values, want[i].Values, same) {
			return fmt.Errorf("get: %v, not %v", got.Rows.GetTyped().Rows[i], want[i])
		}
	}
	return nil
}

// faults checks the code and the details of an error.
func faults(ctx context.Context, g *gate) error {
	_, err := g.search.Search(ctx, &pb.SearchRequest{Table: table, Query: &pb.Query{Vectors: []*pb.Vector{floats([]float32{1, 2})}, Limit: 1}})
	if status.Code(err) != codes.InvalidArgument {
		return fmt.Errorf("a short vector: %v", err)
	}
	var info *errdetails.ErrorInfo
	var bad *errdetails.BadRequest
	for _, detail := range status.Convert(err).Details() {
		switch d := detail.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.BadRequest:
			bad = d
		}
	}
	if info.GetReason() == "" || len(bad.GetFieldViolations()) != 1 {
		return fmt.Errorf("a short vector: %v", status.Convert(err).Details())
	}
	return nil
}

func drop(ctx context.Context, g *gate) error {
	if _, err := g.table.DropTable(ctx, &pb.DropTableRequest{Table: table}); err != nil {
		return err
	}
	_, err := g.table.DescribeTable(ctx, &pb.DescribeTableRequest{Table: table})
	if status.Code(err) != codes.NotFound {
		return fmt.Errorf("a dropped table: %v", err)
	}
	return nil
}
