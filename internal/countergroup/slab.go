package countergroup

// slab holds rows that are only ever added, in pieces, so that growing copies nothing and what one
// window used serves the next.
type slab struct {
	pieces [][]float64
	owners []uint32 // by row: the entry it belongs to
}

const pieceRows = 64

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
			s.pieces = append(s.pieces, make([]float64, pieceRows*width))
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
