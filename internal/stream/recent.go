package stream

// recentBytes is how much of the newest events stays in memory.
const recentBytes = 16 << 20

// recent are the newest messages without gaps. A consumer that keeps up with the
// stream takes events from here and asks the server for nothing; all consumers
// share the bytes.
type recent struct {
	messages []message
	bytes    int
}

// add adds the message that was just stored.
func (r *recent) add(m message) {
	if n := len(r.messages); n > 0 && m.sequence != r.messages[n-1].sequence+1 {
		r.clear()
	}
	r.messages = append(r.messages, m)
	r.bytes += len(m.data)
	drop := 0
	for ; r.bytes > recentBytes && drop < len(r.messages); drop++ {
		r.bytes -= len(r.messages[drop].data)
	}
	clear(r.messages[:drop])
	r.messages = r.messages[drop:]
}

func (r *recent) clear() { *r = recent{} }

// from returns the messages from a sequence on, none when the first is not there.
func (r *recent) from(sequence uint64) []message {
	if len(r.messages) == 0 || sequence < r.messages[0].sequence {
		return nil
	}
	return r.messages[min(sequence-r.messages[0].sequence, uint64(len(r.messages))):]
}
