-- JSON: the functions of JSON.lua, called with a colon or a dot. A file of that name wins.
local native = ...
local preload, package = package.preload, package
local error, loadfile = error, loadfile

local JSON = {}

-- The argument, whether there is an object before it or not.
local function argument(a, b)
  if a == JSON then return b end
  return a
end

function JSON.encode(a, b) return native.json_encode(argument(a, b)) end
function JSON.encode_pretty(a, b) return native.json_indent(native.json_encode(argument(a, b))) end

function JSON.decode(a, b)
  local value, message = native.json_decode(argument(a, b))
  if message then error(message, 2) end
  return value
end

preload.JSON = function(...)
  local path = package.searchpath("JSON", package.path)
  if not path then return JSON end
  local chunk, err = loadfile(path)
  if not chunk then error(err, 0) end
  return chunk(...)
end
