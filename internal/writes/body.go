package writes

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Gate bounds how many requests read bodies at once, and how many of them work.
type Gate struct{ open, working chan struct{} }

// maxOpen is how many bodies are read at once: clients that send slowly keep their place.
const maxOpen = 64

// NewGate returns a Gate.
func NewGate() *Gate {
	return &Gate{make(chan struct{}, maxOpen), make(chan struct{}, 2*runtime.GOMAXPROCS(0))}
}

// Enter lets one more request in, unless there are too many.
func (g *Gate) Enter() (leave func(), ok bool) {
	select {
	case g.open <- struct{}{}:
		return func() { <-g.open }, true
	default:
		return nil, false
	}
}

// Work waits for a place to work at and takes it until done is called. What it is
// for takes as long as the driver does, and never waits for a client.
func (g *Gate) Work() (done func()) {
	g.working <- struct{}{}
	return func() { <-g.working }
}

// RetryAfter is what an answer says that asks for the same request later, in seconds.
const RetryAfter = "5"

// ErrTooLarge is the error of a body with more bytes than allowed.
var ErrTooLarge = errors.New("the body is too large: send smaller batches")

// How long a body may take to come, and after that its answer.
const (
	readTime   = 2 * time.Minute
	answerTime = time.Minute
)

// Body is the body of a request, uncompressed. It is used by one goroutine.
type Body struct {
	reader io.Reader
	gzip   *gzip.Reader
	left   int64 // bytes that may still come
}

var unzippers sync.Pool

// OpenBody returns the body of r as it was before encoding, which may be gzip or "" for
// none; reading more than limit bytes of it fails with ErrTooLarge.
func OpenBody(w http.ResponseWriter, r *http.Request, encoding string, limit int64) (*Body, error) {
	// A batch may take longer than a question; not every ResponseWriter lets it.
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(readTime))
	_ = control.SetWriteDeadline(time.Now().Add(readTime + answerTime))
	b := &Body{reader: http.MaxBytesReader(w, r.Body, limit), left: limit}
	switch strings.ToLower(encoding) {
	case "", "identity":
	case "gzip":
		unzipper, _ := unzippers.Get().(*gzip.Reader)
		if unzipper == nil {
			unzipper = new(gzip.Reader)
		}
		if err := unzipper.Reset(b.reader); err != nil {
			return nil, fmt.Errorf("cannot read the body as gzip: %w", err)
		}
		b.gzip, b.reader = unzipper, unzipper
	default:
		return nil, fmt.Errorf("cannot read a body with Content-Encoding %.50q: send gzip, or none", encoding)
	}
	return b, nil
}

// Read implements io.Reader.
func (b *Body) Read(p []byte) (n int, err error) {
	n, err = b.reader.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, ErrTooLarge
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		err = ErrTooLarge
	}
	return n, err
}

// Close gives back what the body needed. The server closes the rest.
func (b *Body) Close() {
	if b.gzip != nil {
		unzippers.Put(b.gzip)
		b.gzip, b.reader = nil, nil
	}
}
