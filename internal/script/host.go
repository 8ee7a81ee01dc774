package script

import (
	"fmt"
	"slices"
	"strings"
)

// Host is the script half of a contract: it runs one script, inside the process
// of the script. Setup, Frame, Idle, Stop and Answer are *calls*: they come from
// one goroutine, locked to its thread, one after another. Position and Interrupt
// come from other goroutines while a call runs.
//
// Errors of the script that it can go on after are reported with Writer.Error
// or returned; both count against Budget.Errors. Only an error of Setup ends the process.
type Host interface {
	// Setup loads the script. payload is Spec.Setup. An error, best an *Error
	// with its place, means that the script cannot be used.
	Setup(payload []byte, out *Writer) error
	// Frame works on what Send sent. payload is valid during the call only.
	Frame(kind byte, payload []byte, out *Writer) error
	// Idle is called when no frame waits: once when the last one is done, and
	// then every second. It is not called before the script has taken over.
	Idle(out *Writer) error
	// Stop is the last call: the script ends in order.
	Stop(out *Writer)
	// Position is the file:line the running call is at, as far as it is known,
	// without waiting for the script. "" is a fine answer.
	Position() string
	// Interrupt asks the running call to raise an error in the script, which is to stop soon. A host
	// forgets an interrupt that comes too late when the next call begins.
	Interrupt()
}

// Placer is a Host that knows where the function that works on frames begins, file:line. It is asked once, after Setup. A process
// that ends within Frame without another word is reported with this place.
type Placer interface {
	Place() string
}

// Answerer is a Host that answers Request. An error reaches the caller of
// Request and does not count against the script. Payloads are valid during the
// call, answers until the next one.
type Answerer interface {
	Answer(kind byte, payload []byte, out *Writer) ([]byte, error)
}

var hosts = map[string]func() Host{}

// RegisterAPI makes the hosts of the API called name, such as "centreon", known
// to NewHost. It is called by init functions.
func RegisterAPI(name string, host func() Host) {
	if _, taken := hosts[name]; taken {
		panic(fmt.Sprintf("BUG: the script API %q is registered twice", name))
	}
	hosts[name] = host
}

// APIs are the names of the registered APIs.
func APIs() []string {
	names := make([]string, 0, len(hosts))
	for name := range hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// NewHost returns a host of the API called name.
func NewHost(name string) (Host, error) {
	host, ok := hosts[name]
	if !ok {
		return nil, fmt.Errorf("cannot host a script for the API %q: want one of %s", name, strings.Join(APIs(), ", "))
	}
	return host(), nil
}
