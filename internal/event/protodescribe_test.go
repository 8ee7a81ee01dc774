package event

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func protoName(s string) protoreflect.Name { return protoreflect.Name(s) }

// describeProto is a catalogue message as Google's library describes it. Enumerations
// are int32 there, which has the same encoding; strings are bytes, which may hold
// anything.
func describeProto(name string, d *Descriptor) *descriptorpb.DescriptorProto {
	m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
	kinds := map[Kind]descriptorpb.FieldDescriptorProto_Type{
		Bool: descriptorpb.FieldDescriptorProto_TYPE_BOOL, Int32: descriptorpb.FieldDescriptorProto_TYPE_INT32,
		Uint32: descriptorpb.FieldDescriptorProto_TYPE_UINT32, Int64: descriptorpb.FieldDescriptorProto_TYPE_INT64,
		Uint64: descriptorpb.FieldDescriptorProto_TYPE_UINT64, Double: descriptorpb.FieldDescriptorProto_TYPE_DOUBLE,
		String: descriptorpb.FieldDescriptorProto_TYPE_BYTES, Enum: descriptorpb.FieldDescriptorProto_TYPE_INT32,
		Message: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE,
	}
	for i := range d.Fields {
		f := &d.Fields[i]
		fd := &descriptorpb.FieldDescriptorProto{
			Name: proto.String(f.Name), Number: proto.Int32(int32(f.Number)), Type: kinds[f.Kind].Enum(),
			Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		}
		if f.Repeated {
			fd.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
		}
		if f.Optional {
			fd.Proto3Optional = proto.Bool(true)
			fd.OneofIndex = proto.Int32(int32(len(m.OneofDecl)))
			m.OneofDecl = append(m.OneofDecl, &descriptorpb.OneofDescriptorProto{Name: proto.String("_" + f.Name)})
		}
		if f.Map {
			entry := ""
			for word := range strings.SplitSeq(f.Name, "_") {
				entry += strings.ToUpper(word[:1]) + word[1:]
			}
			entry += "Entry"
			nested := describeProto(entry, f.Message)
			nested.Options = &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}
			m.NestedType = append(m.NestedType, nested)
			fd.TypeName = proto.String(".t." + name + "." + entry)
		} else if f.Message != nil {
			fd.TypeName = proto.String(".t.M" + f.Message.Name)
		}
		m.Field = append(m.Field, fd)
	}
	return m
}
