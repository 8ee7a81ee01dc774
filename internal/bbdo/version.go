package bbdo

import (
	"cmp"
	"fmt"
)

// Version is a version of the protocol: 2.x carries legacy events, 3.x protobuf
// messages. The zero Version means that none is prescribed.
type Version struct{ Major, Minor, Patch int }

// The versions pollers are configured with.
var (
	V200 = Version{2, 0, 0}
	V300 = Version{3, 0, 0}
	V301 = Version{3, 0, 1} // first that begins with a welcome and has its acknowledgement as protobuf
)

// ParseVersion reads a version written as "3.0.1".
func ParseVersion(text string) (v Version, err error) {
	if n, _ := fmt.Sscanf(text, "%d.%d.%d", &v.Major, &v.Minor, &v.Patch); n != 3 || v.String() != text {
		return Version{}, fmt.Errorf("cannot read BBDO version %q: want one such as 3.0.1", text)
	}
	if v.Major != 2 && v.Major != 3 {
		return Version{}, fmt.Errorf("cannot use BBDO version %q: its major version must be 2 or 3", text)
	}
	return v, nil
}

func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// before reports whether v is older than w.
func (v Version) before(w Version) bool {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch)) < 0
}
