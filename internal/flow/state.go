package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// memory is the file that lets a restart decode at once: exporters send their templates every few
// minutes only.
type memory struct {
	Exporters []exporterMemory `json:"exporters"`
}

type exporterMemory struct {
	Address   netip.Addr        `json:"address"`
	Domain    uint32            `json:"domain"`
	Version   uint16            `json:"version"`
	Rate      uint32            `json:"rate,omitempty"`
	Rates     map[uint64]uint32 `json:"rates,omitempty"`
	Boot      int64             `json:"boot,omitempty"` // Unix milliseconds
	Templates []templateMemory  `json:"templates,omitempty"`
}

type templateMemory struct {
	Template
	Options bool `json:"options,omitempty"`
}

// Changed reports whether there is something to save.
func (d *Decoder) Changed() bool { return d.changed }

// Save writes the templates and sampling rates to a file, whole or not at all.
func (d *Decoder) Save(path string) error {
	var m memory
	for key, e := range d.exporters {
		if len(e.templates) == 0 && e.rate == 0 && len(e.rates) == 0 {
			continue
		}
		one := exporterMemory{Address: key.address, Domain: key.domain, Version: key.version, Rate: e.rate, Rates: e.rates, Boot: e.boot}
		for _, t := range e.templates {
			one.Templates = append(one.Templates, templateMemory{*t, t.options})
		}
		m.Exporters = append(m.Exporters, one)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot save the templates of flows: %w", err)
	}
	if err := renameio.WriteFile(path, text, 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("cannot save the templates of flows: %w", err)
	}
	d.changed = false
	return nil
}

// Load reads what Save wrote. A file that is damaged is put aside under another name, which the error names;
// the decoder then learns the templates anew.
func (d *Decoder) Load(path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read the templates of flows: %w", err)
	}
	exporters, err := d.parseMemory(text)
	if err != nil {
		aside := fmt.Sprintf("%s.damaged-%d", path, time.Now().Unix())
		if failed := os.Rename(path, aside); failed != nil {
			return fmt.Errorf("cannot read the templates of flows in %q, nor put the file aside: %w", path, errors.Join(err, failed))
		}
		return fmt.Errorf("cannot read the templates of flows: %w; the file is now %q", err, aside)
	}
	for _, e := range exporters {
		d.exporters[e.key] = e
	}
	return nil
}

func (d *Decoder) parseMemory(text []byte) ([]*exporter, error) {
	var m memory
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, err
	}
	if len(m.Exporters) > maxExporters {
		return nil, fmt.Errorf("it has more than %d exporters", maxExporters)
	}
	var exporters []*exporter
	for _, one := range m.Exporters {
		e := d.newExporter(exporterKey{one.Address, one.Domain, one.Version})
		e.rate, e.boot = one.Rate, one.Boot
		maps.Copy(e.rates, one.Rates)
		if len(one.Templates) > maxTemplates || !one.Address.IsValid() {
			return nil, fmt.Errorf("the exporter %q has no valid address, or more than %d templates", one.Address, maxTemplates)
		}
		for _, saved := range one.Templates {
			t := saved.Template
			t.options = saved.Options
			if len(t.Fields) == 0 || len(t.Fields) > maxFields {
				return nil, errFields
			}
			if err := t.layout(one.Version == 10); err != nil {
				return nil, err
			}
			e.templates[t.ID] = &t
		}
		exporters = append(exporters, e)
	}
	return exporters, nil
}
