-- Puts a state together: the other files of this folder share the table host, which scripts do not see.
local native, o, counter, files = ...
local ffi = require("ffi")
local host = { native = native, o = o, ffi = ffi, counter = ffi.cast("uint64_t *", counter) }
for _, file in ipairs(files) do
  local chunk, err = loadstring(file.source, "=weir/" .. file.name)
  if not chunk then error(err, 0) end
  chunk(host)
end
return function(name, ...) return host[name](...) end
