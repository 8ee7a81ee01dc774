// Runs before a configuration file. Built-in functions cannot be interrupted, so
// those that make or walk more than limit elements are refused here, and what
// allocates by a number alone is taken away. Returns what renders the management
// command config.
(function (limit) {
  'use strict';
  var apply = Reflect.apply;
  function bound(owner, name, size) {
    var original = owner[name];
    Object.defineProperty(owner, name, {
      configurable: true,
      writable: true,
      value: function () {
        if (size(this, arguments) > limit) {
          throw new RangeError(name + ' of more than ' + limit + ' elements is not allowed in a configuration');
        }
        return apply(original, this, arguments);
      },
    });
  }
  function own(self) { return self === null || self === undefined ? 0 : Number(self.length); }
  function first(self, args) { return Number(args[0]); }
  function firstLength(self, args) { return own(args[0]); }

  bound(String.prototype, 'repeat', function (self, args) { return String(self).length * Number(args[0]); });
  bound(String.prototype, 'padStart', first);
  bound(String.prototype, 'padEnd', first);
  Object.getOwnPropertyNames(Array.prototype).forEach(function (name) {
    if (name !== 'constructor' && typeof Array.prototype[name] === 'function') { bound(Array.prototype, name, own); }
  });
  bound(Array, 'from', firstLength);
  bound(Function.prototype, 'apply', function (self, args) { return own(args[1]); });
  ['ArrayBuffer', 'SharedArrayBuffer', 'DataView', 'BigInt', 'BigInt64Array', 'BigUint64Array', 'Float32Array', 'Float64Array',
    'Int8Array', 'Int16Array', 'Int32Array', 'Uint8Array', 'Uint8ClampedArray', 'Uint16Array', 'Uint32Array'].forEach(function (name) {
    delete globalThis[name];
  });

  return function (config, emit) {
    for (var name in config) {
      if (!Object.prototype.hasOwnProperty.call(config, name)) { continue; }
      var value = config[name];
      if (typeof value !== 'object') {
        emit(name, '', '' + value);
        continue;
      }
      for (var sub in value) {
        if (Object.prototype.hasOwnProperty.call(value, sub)) { emit(name, sub, '' + value[sub]); }
      }
    }
  };
})
