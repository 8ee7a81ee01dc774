-- The last line of the message of require.
local loaders = package.loaders
loaders[#loaders + 1] = function(name) return "\n\tno module '" .. name .. "' is built into Weir" end
