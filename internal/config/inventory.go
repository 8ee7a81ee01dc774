package config

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/weirhq/weir/internal/inventory"
)

// Inventory says where accounts, entities, bots and the like are kept.
type Inventory struct {
	File       string // "" for one below Data
	Secret     string // a secret; with SecretFile the content of that file
	SecretFile string
}

func inventorySection(in *Inventory) section {
	return section{options: []option{
		{name: "file", value: text{to: &in.File, what: "a file", check: filled}, example: "/var/lib/weir/inventory.db", doc: "The database. When not given it is `inventory.db` below `data`. It is made when it is needed first."},
		{name: "secret", value: text{to: &in.Secret, check: filled, expand: true, secret: true}, example: "${WEIR_SECRET}",
			doc: "What credentials and tokens in the database are encrypted with, at least 16 characters. When neither this nor `secret_file` is given, one is made at the first use and kept beside the database, in a file that ends with `.key`."},
		{name: "secret_file", value: text{to: &in.SecretFile, what: "a file", check: filled}, example: "/etc/weir/secret", doc: "A file with the secret, instead of `secret`."},
	}}
}

// InventoryConfig is what the inventory is made with.
func (c *Config) InventoryConfig() inventory.Config {
	return inventory.Config{Path: cmp.Or(c.Inventory.File, filepath.Join(c.Data, "inventory.db")), Secret: c.Inventory.Secret}
}

// readInventory reads the file with the secret.
func (c *Config) readInventory() (failed Errors) {
	if path := c.Inventory.SecretFile; path != "" {
		secret, err := readToken(path)
		if err != nil {
			failed = append(failed, c.Fail("inventory.secret_file", fmt.Errorf("cannot use %s for inventory.secret_file: %s", quote(path), reason(err))))
		}
		c.Inventory.Secret = secret
	}
	return failed
}
