package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirhq/weir/internal/config"
	"github.com/weirhq/weir/internal/inventory"
)

func inventoryCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "Show and change accounts, bots, entities and what is polled of them",
		Long: `Work on the inventory of a configuration: its accounts with their entities,
credentials and sensors, and the bots and persons that use the REST API. The
database is opened directly, which is safe while Weir runs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVarP(&file, "config", "c", "", "configuration `FILE`; without it, the one of weir run without a file")
	open := func() (*inventory.Inventory, error) {
		cfg := config.Default()
		if file != "" {
			var err error
			if cfg, err = config.Load(file); err != nil {
				return nil, err
			}
		}
		return inventory.New(cfg.InventoryConfig(), slog.New(slog.DiscardHandler)), nil
	}
	cmd.AddCommand(inventoryListCommand(open), inventoryAddCommand(open), inventoryExportCommand(open), inventoryImportCommand(open))
	return cmd
}

type opener func() (*inventory.Inventory, error)

// with calls f with the inventory and closes it.
func (open opener) with(f func(*inventory.Inventory) error) error {
	in, err := open()
	if err != nil {
		return err
	}
	if err := errors.Join(f(in), in.Close()); err != nil {
		return failure{err}
	}
	return nil
}

// inventoryKinds are what can be listed.
var inventoryKinds = []string{"accounts", "bots", "credentials", "entities", "persons", "sensors"}

func inventoryListCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:       "list [" + strings.Join(inventoryKinds, "|") + "]",
		Short:     "List what there is of a kind, accounts when none is given",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: inventoryKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return open.with(func(in *inventory.Inventory) error {
				t := table{left: 9}
				kind := append(args, "accounts")[0]
				if err := listInventory(cmd.Context(), in, kind, &t); err != nil {
					return err
				}
				var out bytes.Buffer
				t.write(&out, 0)
				_, err := cmd.OutOrStdout().Write(out.Bytes())
				return err
			})
		},
	}
}

func listInventory(ctx context.Context, in *inventory.Inventory, kind string, t *table) error {
	accounts, err := in.Accounts(ctx)
	if err != nil {
		return err
	}
	number := func(n int64) string { return strconv.FormatInt(n, 10) }
	bots := func(account *int64, name string) error {
		all, err := in.Bots(ctx, account)
		for _, b := range all {
			protocol := "-"
			if b.Protocol != nil {
				protocol = *b.Protocol
			}
			t.add(number(b.ID), word(name), word(b.Name), protocol)
		}
		return err
	}
	switch kind {
	case "accounts":
		t.add("ID", "NAME")
	case "persons":
		t.add("ID", "USERNAME", "NAME", "EMAIL")
		all, err := in.Persons(ctx)
		for _, p := range all {
			t.add(number(p.ID), word(p.Username), word(p.Name), word(p.Email))
		}
		return err
	case "bots":
		t.add("ID", "ACCOUNT", "NAME", "PROTOCOL")
		if err := bots(nil, "-"); err != nil {
			return err
		}
	case "credentials":
		t.add("ID", "ACCOUNT", "NAME", "PROTOCOL")
	case "sensors":
		t.add("ID", "ACCOUNT", "NAME", "PROTOCOL", "SECONDS")
	case "entities":
		t.add("ID", "ACCOUNT", "NAME", "TYPE", "POLLED")
	}
	for _, a := range accounts {
		switch kind {
		case "accounts":
			t.add(number(a.ID), word(a.Name))
		case "bots":
			if err := bots(&a.ID, a.Name); err != nil {
				return err
			}
		case "credentials":
			all, err := in.Credentials(ctx, a.ID)
			if err != nil {
				return err
			}
			for _, c := range all {
				t.add(number(c.ID), word(a.Name), word(c.Name), c.Protocol)
			}
		case "sensors":
			all, err := in.Sensors(ctx, a.ID)
			if err != nil {
				return err
			}
			for _, s := range all {
				every := "-"
				if s.DefaultInterval != nil {
					every = strconv.FormatFloat(*s.DefaultInterval, 'f', -1, 64)
				}
				t.add(number(s.ID), word(a.Name), word(s.Name), s.Protocol, every)
			}
		case "entities":
			all, err := in.Entities(ctx, a.ID)
			if err != nil {
				return err
			}
			for _, e := range all {
				t.add(number(e.ID), word(a.Name), word(e.Name), word(e.EntityType), polled(e.Protocols))
			}
		}
	}
	return nil
}

// polled is how an entity is polled, such as "ping(1) snmp(2)".
func polled(protocols map[string]inventory.Protocol) string {
	var all []string
	for name, p := range protocols {
		all = append(all, fmt.Sprintf("%s(%d)", name, len(p.Sensors)))
	}
	if len(all) == 0 {
		return "-"
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func inventoryAddCommand(open opener) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add an account, a person or a bot",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(addAccountCommand(open), addPersonCommand(open), addBotCommand(open))
	return cmd
}

func addAccountCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "account NAME",
		Short: "Add an account, with the credentials and sensors each one begins with",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open.with(func(in *inventory.Inventory) error {
				id, err := in.AddAccount(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), id)
				return nil
			})
		},
	}
}

func addPersonCommand(open opener) *cobra.Command {
	var p inventory.Person
	cmd := &cobra.Command{
		Use:   "person USERNAME",
		Short: "Add a person, whose password is read from standard input",
		Long: `Add a person. The password is the first line of standard input. The first
person may do everything; others get permissions over the REST API.`,
		Example: `  weir inventory add person root --name "The boss" < password.txt`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open.with(func(in *inventory.Inventory) error {
				line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
				if err != nil && !errors.Is(err, io.EOF) {
					return fmt.Errorf("cannot read the password: %w", err)
				}
				p.Username, line = args[0], strings.TrimRight(line, "\r\n")
				if p.Name == "" {
					p.Name = p.Username
				}
				id, err := in.AddFirst(cmd.Context(), &p, line)
				if errors.Is(err, inventory.ErrConflict) {
					id, err = in.AddPerson(cmd.Context(), &p, line)
				}
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), id)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&p.Name, "name", "", "the `NAME` of the person; the user name when not given")
	cmd.Flags().StringVar(&p.Email, "email", "", "the `ADDRESS` of the person")
	return cmd
}

func addBotCommand(open opener) *cobra.Command {
	var protocol, account string
	cmd := &cobra.Command{
		Use:   "bot NAME",
		Short: "Add a bot and print its token",
		Long: `Add a bot, with the permissions it needs, and print its token. A bot of an account
may read what it is to poll there and write values; one of the whole system may do
everything in every account.`,
		Example: `  weir inventory add bot poller --protocol snmp > poller.token`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open.with(func(in *inventory.Inventory) error {
				token, err := addBot(cmd.Context(), in, args[0], protocol, account)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), token)
				return nil
			})
		},
	}
	cmd.Flags().StringVar(&protocol, "protocol", "", "what it polls: ping, snmp, netflow or any other `NAME`; nothing for a bot that only writes")
	cmd.Flags().StringVar(&account, "account", "", "the `NAME` of the account it belongs to; without it, it is one of the whole system")
	return cmd
}

func addBot(ctx context.Context, in *inventory.Inventory, name, protocol, account string) (token string, err error) {
	b := inventory.Bot{Name: name}
	if protocol != "" {
		b.Protocol = &protocol
	}
	below := func(what string, methods ...string) inventory.Permission {
		return inventory.Permission{ResourcePrefix: &what, Methods: methods}
	}
	permissions := []inventory.Permission{below("accounts")}
	if account != "" {
		all, err := in.Accounts(ctx)
		if err != nil {
			return "", err
		}
		for i := range all {
			if all[i].Name == account {
				b.TiedToAccount = &all[i].ID
			}
		}
		if b.TiedToAccount == nil {
			return "", fmt.Errorf("cannot add the bot: there is no account %q", account)
		}
		own := fmt.Sprintf("accounts/%d/", *b.TiedToAccount)
		permissions = []inventory.Permission{below(own+"values", "POST", "PUT"), below(own+"entities", "GET"), below(own+"credentials", "GET"), below(own+"sensors", "GET")}
	}
	id, err := in.AddBot(ctx, &b)
	if err != nil {
		return "", err
	}
	for _, p := range permissions {
		if _, err := in.AddPermission(ctx, id, &p); err != nil {
			return "", err
		}
	}
	return in.Token(ctx, b.TiedToAccount, id)
}

func inventoryExportCommand(open opener) *cobra.Command {
	var secrets bool
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Print the inventory as YAML",
		Long: `Print accounts with their credentials, sensors, bots and entities as YAML, which
weir inventory import reads. Persons and tokens are not in it, and the details of
credentials only with --secrets: they are not encrypted there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open.with(func(in *inventory.Inventory) error {
				f, err := in.Export(cmd.Context(), secrets)
				if err != nil {
					return err
				}
				text, err := f.Encode()
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(text)
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&secrets, "secrets", false, "with the details of credentials, in clear")
	return cmd
}

func inventoryImportCommand(open opener) *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE",
		Short: "Add and change what a YAML file says, - for standard input",
		Long: `Add what the inventory lacks of a file, and change what is different. Things are
told apart by their names. What the file does not name stays as it is, and so do
the details of a credential that has none in the file.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var text []byte
			var err error
			if args[0] == "-" {
				text, err = io.ReadAll(cmd.InOrStdin())
			} else {
				text, err = os.ReadFile(args[0])
			}
			if err != nil {
				return fmt.Errorf("cannot import: %w", err)
			}
			f, err := inventory.ReadFile(text)
			if err != nil {
				return err
			}
			return open.with(func(in *inventory.Inventory) error {
				done, err := in.Import(cmd.Context(), f)
				fmt.Fprintf(cmd.OutOrStdout(), "%d added, %d changed\n", done.Added, done.Changed)
				return err
			})
		},
	}
}
