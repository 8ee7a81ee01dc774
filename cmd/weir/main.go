// Command weir takes monitoring data in, aggregates it, stores it and sends it on.
package main

import (
	"os"

	"github.com/weirhq/weir/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
