package main

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/proto"

	pb "github.com/lancegate/lancegate/gen/go/lancegate/v1"
)

func integer(v int64) *pb.Value { return &pb.Value{Kind: &pb.Value_IntValue{IntValue: v}} }

func text(v string) *pb.Value { return &pb.Value{Kind: &pb.Value_StringValue{StringValue: v}} }

func null() *pb.Value { return &pb.Value{Kind: &pb.Value_NullValue{}} }

func instant(seconds int64, nanos uint32) *pb.Value {
	return &pb.Value{Kind: &pb.Value_TimestampValue{TimestampValue: &pb.Timestamp{Seconds: seconds, Nanos: nanos}}}
}

func list(values ...*pb.Value) *pb.Value {
	return &pb.Value{Kind: &pb.Value_ListValue{ListValue: &pb.ListValue{Values: values}}}
}

func vectorValue(values []float32) *pb.Value {
	return &pb.Value{Kind: &pb.Value_VectorValue{VectorValue: floats(values)}}
}

func row(values ...*pb.Value) *pb.Row { return &pb.Row{Values: values} }

func typed(schema *pb.Schema, rows ...*pb.Row) *pb.Rows {
	return &pb.Rows{Format: &pb.Rows_Typed{Typed: &pb.TypedRows{Schema: schema, Rows: rows}}}
}

// same compares values; an unset one is a null too.
func same(a, b *pb.Value) bool {
	isNull := func(v *pb.Value) bool {
		_, explicit := v.GetKind().(*pb.Value_NullValue)
		return explicit || v.GetKind() == nil
	}
	return isNull(a) && isNull(b) || proto.Equal(a, b)
}

// floats is a vector the friendly way.
func floats(values []float32) *pb.Vector {
	return &pb.Vector{Data: &pb.Vector_Floats{Floats: &pb.PackedFloats{Values: values}}}
}

// littleEndian is the same vector the fast way.
func littleEndian(values []float32) *pb.Vector {
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	return &pb.Vector{Data: &pb.Vector_Bytes{Bytes: &pb.VectorBytes{Element: pb.VectorElement_VECTOR_ELEMENT_F32, Data: data}}}
}
