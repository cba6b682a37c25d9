package main

import (
	"context"
	"fmt"
	"slices"

	pb "github.com/lancegate/lancegate/gen/go/lancegate/v1"
)

// writeSome changes the sample in every way: more rows, other rows, fewer rows.
func writeSome(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g, err := dial(address)
	if err != nil {
		return err
	}
	defer g.conn.Close()
	updated, err := g.write.Update(ctx, &pb.UpdateRequest{
		Table:       "packages",
		Filter:      &pb.Filter{Sql: "section = $1", Params: []*pb.Value{text("web")}},
		Assignments: []*pb.Assignment{{Column: "version", To: &pb.Assignment_Value{Value: text("changed")}}},
	})
	if err != nil {
		return fmt.Errorf("Update: %w", err)
	}
	deleted, err := g.write.Delete(ctx, &pb.DeleteRequest{
		Table:  "packages",
		Filter: &pb.Filter{Sql: "section = $1", Params: []*pb.Value{text("games")}},
	})
	if err != nil {
		return fmt.Errorf("Delete: %w", err)
	}
	fields := []*pb.Field{
		{Name: "id", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_INT64}, Nullable: true},
		{Name: "title", Type: &pb.DataType{Kind: pb.TypeKind_TYPE_KIND_UTF8}, Nullable: true},
	}
	_, err = g.write.Insert(ctx, &pb.InsertRequest{
		Table: "packages",
		Rows: typed(&pb.Schema{Fields: fields},
			row(integer(-1), text("a row that was added later")),
			row(integer(-2), text("another row that was added later"))),
	})
	if err != nil {
		return fmt.Errorf("Insert: %w", err)
	}
	if updated.NumUpdatedRows == 0 || deleted.NumDeletedRows == 0 {
		return fmt.Errorf("nothing was written: %d updated, %d deleted", updated.NumUpdatedRows, deleted.NumDeletedRows)
	}
	return nil
}

// digest prints what a reader sees of the sample: how many rows, what became of
// them, and which rows searches find, in the order of their ids.
func digest(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	g, err := dial(address)
	if err != nil {
		return err
	}
	defer g.conn.Close()
	filters := []*pb.Filter{
		nil,
		{Sql: "version = $1", Params: []*pb.Value{text("changed")}},
		{Sql: "section = $1", Params: []*pb.Value{text("games")}},
		{Sql: "id < 0"},
	}
	for _, filter := range filters {
		counted, err := g.search.Count(ctx, &pb.CountRequest{Table: "packages", Filter: filter})
		if err != nil {
			return fmt.Errorf("Count: %w", err)
		}
		fmt.Printf("%d rows where %q\n", counted.Count, filter.GetSql())
	}
	vector, err := storedVector(ctx, g, 35592)
	if err != nil {
		return err
	}
	near := &pb.Query{
		Vectors:           []*pb.Vector{vector},
		DistanceType:      pb.DistanceType_DISTANCE_TYPE_COSINE,
		BypassVectorIndex: true,
		Limit:             10,
		Columns:           []string{"id"},
	}
	if err := printIds(ctx, g, "nearest", near); err != nil {
		return err
	}
	// More than there are matches: equal scores cannot change which ones come.
	return printIds(ctx, g, "with the words", textQuery("database later", 1000, "id"))
}

// storedVector answers the vector of one row.
func storedVector(ctx context.Context, g *gate, id int64) (*pb.Vector, error) {
	got, err := g.search.Get(ctx, &pb.GetRequest{
		Table:      "packages",
		KeyColumns: []string{"id"},
		Keys:       []*pb.Row{row(integer(id))},
		Columns:    []string{"vector"},
		RowFormat:  pb.RowFormat_ROW_FORMAT_TYPED,
	})
	if err != nil {
		return nil, fmt.Errorf("Get: %w", err)
	}
	if got.NumRows != 1 {
		return nil, fmt.Errorf("Get answered %d rows for one key", got.NumRows)
	}
	return got.Rows.GetTyped().Rows[0].Values[0].GetVectorValue(), nil
}

func printIds(ctx context.Context, g *gate, name string, query *pb.Query) error {
	found, err := g.search.Search(ctx, &pb.SearchRequest{Table: "packages", Query: query, RowFormat: pb.RowFormat_ROW_FORMAT_TYPED})
	if err != nil {
		return fmt.Errorf("%s search: %w", name, err)
	}
	var ids []int64
	for _, r := range found.Rows.GetTyped().GetRows() {
		ids = append(ids, r.Values[0].GetIntValue())
	}
	if len(ids) == 0 {
		return fmt.Errorf("%s search: no rows", name)
	}
	slices.Sort(ids)
	fmt.Println(name, ids)
	return nil
}
