package proxy

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/binary"
	"slices"
	"sort"
	"strconv"
)

// pointsPerNode is how many points a node has on the ring when the rounding below does not change it.
const pointsPerNode = 40

// ring tells which node owns a name. It does not change once it was made.
type ring struct {
	points []uint32 // ascending
	owners []int    // of the points, as indices of the nodes the ring was made from
}

// newRing places the nodes with the given identities ("host:port"); indices are what owner returns for them.
func newRing(identities []string, indices []int) *ring {
	// In float64 and in this order, as the reference computes it: 7 nodes get 39 points each.
	total := float64(100 * len(identities))
	each := int(100 / total * pointsPerNode * float64(len(identities)))
	type place struct {
		point uint32
		owner int
	}
	var places []place
	for i, identity := range identities {
		for n := range each {
			places = append(places, place{hash([]byte(identity + "-" + strconv.Itoa(n))), indices[i]})
		}
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.point, b.point) })
	r := &ring{}
	for _, p := range places {
		r.points, r.owners = append(r.points, p.point), append(r.owners, p.owner)
	}
	return r
}

// owner is the index of the node key belongs to, and false when there is no node.
func (r *ring) owner(key []byte) (int, bool) {
	if len(r.points) == 0 {
		return 0, false
	}
	h := hash(key)
	i := sort.Search(len(r.points), func(i int) bool { return r.points[i] >= h })
	if i == len(r.points) {
		i = 0
	}
	return r.owners[i], true
}

// hash is the first four bytes of the MD5 sum, the last one most significant.
func hash(b []byte) uint32 {
	sum := md5.Sum(b)
	return binary.LittleEndian.Uint32(sum[:4])
}

// keyOf is the name in a line: everything before the first colon, as it stands.
func keyOf(line []byte) []byte {
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		return line[:i]
	}
	return line
}
