package tsdriver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"

	"github.com/weirhq/weir/internal/spool"
)

// maxRRDQueues bounds the queues, which have open files.
const maxRRDQueues = 256

// maxRRDQueue is how many points may wait in the queue of an interface (4.4).
const maxRRDQueue = 200_000

// rrdQueues are the queues behind rrd_enqueue and rrd_dequeue, one for each interface, on
// disk: a point is safe when rrd_enqueue returns true. They belong to the goroutine of the calls.
type rrdQueues struct {
	dir    string
	log    *slog.Logger
	queues map[int64]*rrdQueue
}

type rrdQueue struct {
	spool *spool.Spool
	batch *spool.Batch // handed out, nil for none
	taken int          // records of it
}

func (q *rrdQueues) queue(ifid int64) (*rrdQueue, error) {
	if have := q.queues[ifid]; have != nil {
		return have, nil
	}
	if len(q.queues) >= maxRRDQueues {
		return nil, fmt.Errorf("cannot queue points of interface %d: %d interfaces have queues already", ifid, maxRRDQueues)
	}
	s, err := spool.Open(filepath.Join(q.dir, strconv.FormatInt(ifid, 10)), spool.Config{Log: q.log})
	if err != nil {
		return nil, err
	}
	if q.queues == nil {
		q.queues = make(map[int64]*rrdQueue)
	}
	q.queues[ifid] = &rrdQueue{spool: s}
	return q.queues[ifid], nil
}

// recover opens the queues that an earlier process left, and names their interfaces.
func (q *rrdQueues) recover() (ids []int64, err error) {
	left, err := filepath.Glob(filepath.Join(q.dir, "*"))
	for _, path := range left {
		if id, ok := interfaceID(filepath.Base(path)); ok {
			if _, failed := q.queue(id); failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			ids = append(ids, id)
		}
	}
	return ids, err
}

func (q *rrdQueue) enqueue(line []byte) error {
	if q.length() >= maxRRDQueue {
		return spool.ErrFull
	}
	return q.spool.Append(line)
}

// length is how many points wait.
func (q *rrdQueue) length() int64 { return q.spool.Len() - int64(q.taken) }

// dequeue takes the oldest point; nil when there is none. What was taken is forgotten when the
// next ones are needed: points that a process had before it died come again.
func (q *rrdQueue) dequeue() ([]byte, error) {
	if q.batch != nil && q.taken == len(q.batch.Records) {
		if err := q.done(); err != nil {
			return nil, err
		}
	}
	if q.batch == nil {
		if q.spool.Len() == 0 {
			return nil, nil
		}
		batch, err := q.spool.Next(context.Background(), 1<<20)
		if err != nil {
			return nil, err
		}
		q.batch = batch
	}
	q.taken++
	return q.batch.Records[q.taken-1], nil
}

func (q *rrdQueue) done() error {
	batch := q.batch
	q.batch, q.taken = nil, 0
	return batch.Done()
}

// settle forgets what was taken, as far as a whole batch was; it is called when a call of the script has ended.
func (q *rrdQueues) settle() error {
	var errs []error
	for _, queue := range q.queues {
		if queue.batch != nil && queue.taken == len(queue.batch.Records) {
			errs = append(errs, queue.done())
		}
	}
	return errors.Join(errs...)
}

func (q *rrdQueues) close() error {
	errs := []error{q.settle()}
	for _, queue := range q.queues {
		errs = append(errs, queue.spool.Close())
	}
	return errors.Join(errs...)
}
