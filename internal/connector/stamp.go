package connector

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// maxLooked bounds how many files below the folder of a script are looked at.
const maxLooked = 20_000

// Stamp is a value that changes when the script does, or one of the Lua files and C modules
// in its folder and below, which it may require. What cannot be read is part of it: a file
// that is missing now may be there the next time.
func Stamp(path string) uint64 {
	h := xxhash.New()
	add := func(name string, info fs.FileInfo) {
		h.WriteString(name)
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(info.Size())))
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(info.ModTime().UnixNano())))
	}
	looked := 0
	err := filepath.WalkDir(filepath.Dir(path), func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			fmt.Fprint(h, err)
			return nil
		}
		if looked++; looked > maxLooked {
			return filepath.SkipAll
		}
		if entry.IsDir() {
			return nil
		}
		if extension := strings.ToLower(filepath.Ext(name)); extension != ".lua" && extension != ".so" && filepath.Clean(name) != filepath.Clean(path) {
			return nil
		}
		if info, err := os.Stat(name); err == nil {
			add(name, info)
		} else {
			fmt.Fprint(h, err)
		}
		return nil
	})
	if err != nil {
		fmt.Fprint(h, err)
	}
	return h.Sum64()
}
