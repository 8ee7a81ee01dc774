package countergroup

// slab holds rows that are only ever added, in pieces, so that growing copies nothing and what one
// window used serves the next.
type slab struct {
	pieces [][]float64
	owners []uint32 // by row: the entry it belongs to
}

const (
	pieceRows  = 64
	manyPieces = 16
)

func (s *slab) row(i uint32, width int) []float64 {
	at := int(i%pieceRows) * width
	return s.pieces[i/pieceRows][at : at+width : at+width]
}

// add makes room for one more row, whose contents are arbitrary; spare are pieces to use first.
func (s *slab) add(owner uint32, width int, spare *[][]float64) uint32 {
	i := uint32(len(s.owners))
	if i%pieceRows == 0 {
		if n := len(*spare); n > 0 {
			s.pieces = append(s.pieces, (*spare)[n-1])
			(*spare)[n-1] = nil
			*spare = (*spare)[:n-1]
		} else {
			n := 1
			if len(s.pieces) >= manyPieces { // many at once fill whole pages, of which one leaves a part unused
				n = manyPieces
			}
			room := make([]float64, n*pieceRows*width)
			for i := range n {
				at := i * pieceRows * width
				*spare = append(*spare, room[at:at+pieceRows*width:at+pieceRows*width])
			}
			return s.add(owner, width, spare)
		}
	}
	s.owners = append(s.owners, owner)
	return i
}

// release gives the pieces to spare, which is left with at most keep, and empties the slab.
func (s *slab) release(spare *[][]float64, keep int) {
	for i, piece := range s.pieces {
		if len(*spare) < keep {
			*spare = append(*spare, piece)
		}
		s.pieces[i] = nil
	}
	s.pieces, s.owners = s.pieces[:0], s.owners[:0]
}
