package inventory

import (
	"context"
	"database/sql"
)

// PathID is the number of a path of values of an account. It gets one when it has none yet.
func (in *Inventory) PathID(ctx context.Context, account int64, path string) (id int64, err error) {
	ids, err := in.PathIDs(ctx, account, []string{path})
	if err != nil {
		return 0, err
	}
	return ids[0], nil
}

// PathIDs are the numbers of paths, in their order. Those that have none yet get one.
func (in *Inventory) PathIDs(ctx context.Context, account int64, paths []string) ([]int64, error) {
	ids := make([]int64, len(paths))
	missing := false
	for i, path := range paths {
		err := in.query(ctx, func(row *sql.Rows) error { return row.Scan(&ids[i]) }, "SELECT id FROM paths WHERE account = ? AND path = ?", account, path)
		if err != nil {
			return nil, err
		}
		missing = missing || ids[i] == 0
	}
	if !missing {
		return ids, nil
	}
	err := in.change(ctx, func(tx *sql.Tx) error {
		if err := exists(ctx, tx, "accounts", account); err != nil {
			return err
		}
		for i, path := range paths {
			if ids[i] != 0 {
				continue
			}
			// The same path may be there twice, or have been given a number meanwhile.
			err := tx.QueryRowContext(ctx, "INSERT INTO paths (account, path) VALUES (?, ?) ON CONFLICT DO UPDATE SET path = path RETURNING id", account, path).Scan(&ids[i])
			if err != nil {
				return err
			}
		}
		return nil
	})
	return ids, err
}

// Path is the path with a number.
func (in *Inventory) Path(ctx context.Context, account, id int64) (path string, err error) {
	err = in.one(ctx, func(row *sql.Rows) error { return row.Scan(&path) }, "SELECT path FROM paths WHERE account = ? AND id = ?", account, id)
	return path, err
}

// RenamePath gives the number of a path to another one. ErrConflict is when that has a number.
func (in *Inventory) RenamePath(ctx context.Context, account, id int64, path string) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "UPDATE paths SET path = ? WHERE account = ? AND id = ?", path, account, id)
	})
}

// DeletePath forgets the number of a path.
func (in *Inventory) DeletePath(ctx context.Context, account, id int64) error {
	return in.change(ctx, func(tx *sql.Tx) error {
		return affect(ctx, tx, "DELETE FROM paths WHERE account = ? AND id = ?", account, id)
	})
}
