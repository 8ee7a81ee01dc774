package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// decoder walks the syntax tree of a file and the declared options together,
// and goes on after a mistake.
type decoder struct {
	config  *Config
	lookup  func(name string) (string, bool) // of the environment
	anchors map[string]ast.Node
	errors  Errors
}

// document decodes a whole file. An empty one means all defaults.
func (d *decoder) document(text []byte) {
	if message, line := excess(text); message != "" {
		d.at(position{line, 1}, "cannot read the file: "+message)
		return
	}
	file, err := parse(text)
	if err != nil {
		d.syntax(err)
		return
	}
	var body ast.Node
	for _, document := range file.Docs {
		switch {
		case document.Body == nil || document.Body.Type() == ast.CommentType:
		case body == nil:
			body = document.Body
		default:
			d.at(place(document.Body), "cannot use a second YAML document: one file is one configuration; remove the line --- before it")
		}
	}
	if body == nil {
		return
	}
	d.anchors = make(map[string]ast.Node)
	ast.Walk(d, body)
	root(d.config).decode(d, "", body)
}

// What a configuration may be at most. The parser takes memory with the square
// of the depth.
const (
	maxFile  = 1 << 20 // bytes
	maxDepth = 64      // brackets in each other, or dashes in front of each other
)

var stacked = regexp.MustCompile(`^[ \t]*(?:[-?:!&*][^ \t]*[ \t]+){64}`)

// excess says what is too much, and on which line, before anything is parsed.
func excess(text []byte) (message string, line int) {
	if len(text) > maxFile {
		return fmt.Sprintf("it has %d bytes, and at most %d are allowed", len(text), maxFile), 1
	}
	depth := 0
	for content := range bytes.Lines(text) {
		line++
		for _, c := range content {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(depth-1, 0)
			}
			if depth > maxDepth {
				return fmt.Sprintf("more than %d brackets are open", maxDepth), line
			}
		}
		if stacked.Match(content) {
			return fmt.Sprintf("more than %d lists in each other", maxDepth), line
		}
	}
	return "", 0
}

// parse guards against the parser: a text that it cannot take must not end the daemon at a reload.
func parse(text []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", p)
		}
	}()
	return parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
}

// Visit implements [ast.Visitor]: it collects the anchors.
func (d *decoder) Visit(n ast.Node) ast.Visitor {
	if anchor, ok := n.(*ast.AnchorNode); ok && anchor.Name != nil {
		d.anchors[anchor.Name.GetToken().Value] = anchor.Value
	}
	return d
}

func (d *decoder) syntax(err error) {
	var known yaml.Error
	if errors.As(err, &known) && known.GetToken() != nil && known.GetToken().Position != nil {
		token := known.GetToken()
		what := "this"
		if text := cmp.Or(strings.TrimSpace(token.Value), strings.TrimSpace(token.Origin)); text != "" {
			what = quote(text)
		}
		message := strings.Join(strings.Fields(strings.ReplaceAll(known.GetMessage(), "'\t'", "tab")), " ") // one line
		d.at(position{token.Position.Line, max(token.Position.Column, 1)}, "cannot read "+what+" as YAML: "+message)
		return
	}
	d.errors = append(d.errors, &Error{File: d.config.file, Message: "cannot read the file as YAML: " + err.Error()})
}

// resolve follows aliases, anchors and tags to the node that has the value.
func (d *decoder) resolve(n ast.Node) ast.Node {
	for range 16 { // longer chains, and circles, are not followed
		switch of := n.(type) {
		case *ast.AnchorNode:
			n = of.Value
		case *ast.TagNode:
			n = of.Value
		case *ast.AliasNode:
			target, ok := d.anchors[of.Value.GetToken().Value]
			if !ok {
				return n
			}
			n = target
		default:
			return n
		}
	}
	return n
}

// complain reports a mistake about the option at path.
func (d *decoder) complain(path, message string) {
	at, _ := d.config.locate(path)
	d.at(at, message)
}

func (d *decoder) at(at position, message string) {
	d.errors = append(d.errors, &Error{File: d.config.file, Line: at.line, Column: at.column, Message: message})
}

// refuse reports that what stands at n cannot be the value of the option at
// path; suggestion is what to write instead, "" when nothing comes to mind.
func (d *decoder) refuse(n ast.Node, path, reason, suggestion string) {
	message := fmt.Sprintf("cannot use %s for %s: %s", quote(source(n)), path, reason)
	if suggestion != "" {
		message += "; did you mean " + suggestion + "?"
	}
	d.at(place(n), message)
}

func (d *decoder) sorted() Errors {
	slices.SortStableFunc(d.errors, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return d.errors
}

// pairs are the keys and values of a mapping.
func pairs(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch of := n.(type) {
	case *ast.MappingNode:
		return of.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{of}, true
	}
	return nil, false
}

// empty reports whether nothing is written where n stands.
func empty(n ast.Node) bool {
	if n == nil {
		return true
	}
	_, null := n.(*ast.NullNode)
	return null
}

// place is where n begins: for a mapping its first key.
func place(n ast.Node) position {
	if list, ok := pairs(n); ok && len(list) > 0 {
		if of, flow := n.(*ast.MappingNode); !flow || !of.IsFlowStyle {
			n = list[0].Key
		}
	}
	if token := n.GetToken(); token != nil && token.Position != nil {
		return position{token.Position.Line, max(token.Position.Column, 1)}
	}
	return position{1, 1}
}

// source is the text of n in the file; of a mapping or a list its beginning.
func source(n ast.Node) string {
	switch of := n.(type) {
	case *ast.StringNode:
		return of.Value
	case *ast.LiteralNode:
		return of.Value.Value
	case *ast.NullNode:
		return ""
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		line, _, more := strings.Cut(strings.TrimSpace(of.String()), "\n")
		if more {
			line += " ..."
		}
		return line
	case *ast.AliasNode:
		return "*" + of.Value.GetToken().Value
	}
	return n.GetToken().Value
}

// what says what n is, for messages.
func what(n ast.Node) string {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return "text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.BoolNode:
		return "true or false"
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AliasNode:
		return "an alias of nothing"
	}
	return "something else"
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
