package jsconfig

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/dop251/goja"
)

//go:embed prelude.js
var prelude string

const (
	preludeName = "prelude.js"
	maxElements = 1 << 20    // that one call of a built-in function may make or walk
	maxRead     = 1 << 20    // bytes of a file the configuration reads
	renderer    = "__render" // where the prelude's result waits for the settings
)

// prepare puts into scope what a configuration finds in the reference daemon.
func prepare(vm *goja.Runtime, src source) error {
	bounds, err := vm.RunScript(preludeName, prelude)
	if err != nil {
		return fmt.Errorf("BUG: %w", err)
	}
	harden, _ := goja.AssertFunction(bounds)
	render, err := harden(goja.Undefined(), vm.ToValue(maxElements))
	if err != nil {
		return fmt.Errorf("BUG: %w", err)
	}
	global := vm.GlobalObject()
	if err := global.DefineDataProperty(renderer, render, goja.FLAG_FALSE, goja.FLAG_FALSE, goja.FLAG_FALSE); err != nil {
		return fmt.Errorf("BUG: %w", err)
	}
	modules := map[string]*goja.Object{"os": osModule(vm), "path": pathModule(vm), "fs": fsModule(vm), "util": utilModule(vm)}
	require := func(call goja.FunctionCall) goja.Value {
		name := strings.TrimPrefix(call.Argument(0).String(), "node:")
		if m := modules[name]; m != nil {
			return m
		}
		panic(vm.NewTypeError("cannot require %q: a configuration can require os, path, fs and util", name))
	}
	module := vm.NewObject()
	exports := vm.NewObject()
	for name, value := range map[string]any{
		"config":  goja.Undefined(), // as in the reference, where it is assigned to
		"require": require, "process": process(vm, src), "module": module, "exports": exports, "global": global,
		"fs": modules["fs"], "util": modules["util"], "__dirname": src.directory, "__filename": filepath.Join(src.directory, filepath.Base(src.name)),
	} {
		must(global.Set(name, value))
	}
	must(module.Set("exports", exports))
	return nil
}

// must is for properties of objects nobody else has seen: nothing refuses them.
func must(err error) {
	if err != nil {
		panic("BUG: " + err.Error())
	}
}

func object(vm *goja.Runtime, properties map[string]any) *goja.Object {
	o := vm.NewObject()
	for name, value := range properties {
		must(o.Set(name, value))
	}
	return o
}

func process(vm *goja.Runtime, src source) *goja.Object {
	env := vm.NewObject()
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		must(env.Set(name, value))
	}
	return object(vm, map[string]any{
		"env": env, "pid": os.Getpid(), "argv": vm.NewArray("node", "stats.js", src.name), "platform": runtime.GOOS, "arch": nodeArch(),
		"version": "v20.0.0", "versions": object(vm, map[string]any{"node": "20.0.0"}),
		"cwd": func() string { wd, _ := os.Getwd(); return wd },
	})
}

// nodeArch is how Node calls the architecture.
func nodeArch() string {
	switch runtime.GOARCH {
	case "amd64":
		return "x64"
	case "386":
		return "ia32"
	}
	return runtime.GOARCH
}

func osModule(vm *goja.Runtime) *goja.Object {
	return object(vm, map[string]any{
		"EOL":      "\n",
		"hostname": func() string { name, _ := os.Hostname(); return name },
		"cpus": func() *goja.Object {
			cpus := vm.NewArray()
			for i := range runtime.NumCPU() {
				must(cpus.Set(fmt.Sprint(i), object(vm, map[string]any{"model": "", "speed": 0})))
			}
			return cpus
		},
		"platform":          func() string { return runtime.GOOS },
		"arch":              nodeArch,
		"type":              func() string { return strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:] },
		"tmpdir":            os.TempDir,
		"homedir":           func() string { home, _ := os.UserHomeDir(); return home },
		"networkInterfaces": func() *goja.Object { return interfaces(vm) },
	})
}

// interfaces is os.networkInterfaces(): the addresses of every interface by name.
func interfaces(vm *goja.Runtime) *goja.Object {
	all := vm.NewObject()
	links, err := net.Interfaces()
	if err != nil {
		panic(vm.NewGoError(fmt.Errorf("cannot list the network interfaces: %w", err)))
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil || len(addresses) == 0 {
			continue
		}
		list := vm.NewArray()
		for i, address := range addresses {
			prefix, ok := address.(*net.IPNet)
			if !ok {
				continue
			}
			family := "IPv6"
			if prefix.IP.To4() != nil {
				family = "IPv4"
			}
			must(list.Set(fmt.Sprint(i), object(vm, map[string]any{
				"address": prefix.IP.String(), "netmask": net.IP(prefix.Mask).String(), "family": family, "mac": link.HardwareAddr.String(),
				"internal": link.Flags&net.FlagLoopback != 0, "cidr": prefix.String(),
			})))
		}
		must(all.Set(link.Name, list))
	}
	return all
}

func pathModule(vm *goja.Runtime) *goja.Object {
	return object(vm, map[string]any{
		"sep":       "/",
		"join":      func(parts ...string) string { return orDot(path.Join(parts...)) },
		"normalize": func(p string) string { return path.Clean(p) },
		"resolve": func(parts ...string) string {
			whole := ""
			for _, part := range parts {
				if path.IsAbs(part) {
					whole = part
				} else {
					whole = path.Join(whole, part)
				}
			}
			absolute, _ := filepath.Abs(whole)
			return absolute
		},
		"dirname": func(p string) string { return path.Dir(strings.TrimRight(p, "/")) },
		"basename": func(p string, suffix string) string {
			base := path.Base(p)
			if base == "." && p == "" {
				return ""
			}
			if base == suffix {
				return base
			}
			return strings.TrimSuffix(base, suffix)
		},
		"extname": func(p string) string {
			base := path.Base(p)
			if i := strings.LastIndexByte(base, '.'); i > 0 {
				return base[i:]
			}
			return ""
		},
		"isAbsolute": path.IsAbs,
	})
}

func orDot(p string) string {
	if p == "" {
		return "."
	}
	return p
}

func fsModule(vm *goja.Runtime) *goja.Object {
	return object(vm, map[string]any{
		"existsSync": func(name string) bool { _, err := os.Stat(name); return err == nil },
		"readFileSync": func(name string, encoding goja.Value) goja.Value {
			text, err := readFile(name)
			if err != nil {
				panic(vm.NewGoError(err))
			}
			if encoding == nil || goja.IsUndefined(encoding) {
				return vm.ToValue(text).ToObject(vm) // instead of a Buffer: what matters is its toString
			}
			return vm.ToValue(text)
		},
	})
}

// readFile reads a regular file: reading anything else could wait for ever.
func readFile(name string) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("cannot read %q: not a regular file", name)
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxRead+1))
	if err == nil && len(text) > maxRead {
		err = fmt.Errorf("cannot read %q: more than %d bytes", name, maxRead)
	}
	return string(text), err
}

func utilModule(vm *goja.Runtime) *goja.Object {
	return object(vm, map[string]any{
		"isArray": isArray,
		"format": func(call goja.FunctionCall) goja.Value {
			if len(call.Arguments) == 0 {
				return vm.ToValue("")
			}
			rest := call.Arguments[1:]
			var out strings.Builder
			format := call.Arguments[0].String()
			for i := 0; i < len(format); i++ {
				if format[i] != '%' || i+1 == len(format) {
					out.WriteByte(format[i])
					continue
				}
				switch verb := format[i+1]; {
				case verb == '%':
					out.WriteByte('%')
				case strings.IndexByte("sdifjoO", verb) >= 0 && len(rest) > 0:
					out.WriteString(rest[0].String())
					rest = rest[1:]
				default:
					out.WriteByte('%')
					continue
				}
				i++
			}
			for _, v := range rest {
				out.WriteString(" " + v.String())
			}
			return vm.ToValue(out.String())
		},
	})
}

func isArray(v goja.Value) bool {
	o, ok := v.(*goja.Object)
	return ok && o.ClassName() == "Array"
}
