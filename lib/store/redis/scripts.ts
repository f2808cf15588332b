import { createHash } from 'node:crypto';

/** A script that the server runs as a whole, so that every call is atomic. */
export interface RedisScript {
  readonly source: string;
  readonly sha1: string;
}

// A document is a hash (v: bytes, n: version, e: when it expires or ''), each collection has a sorted set of its keys, and one
// more holds what expires. Keys are printable, so that a line feed ends a collection's name.
const common = `
local function whole(n) return string.format('%.0f', n) end
local function docOf(collection, key) return 'stator:d:' .. collection .. '\\n' .. key end
local function indexOf(collection) return 'stator:i:' .. collection end
local function isAlive(expires, now) return expires == '' or tonumber(expires) > now end
local function drop(collection, key)
  local doc = docOf(collection, key)
  local size = redis.call('HSTRLEN', doc, 'v')
  if redis.call('DEL', doc) == 0 then return end
  redis.call('DECRBY', 'stator:bytes', size + #collection + #key)
  redis.call('ZREM', indexOf(collection), key)
  redis.call('ZREM', 'stator:expiry', 'd' .. collection .. '\\n' .. key)
end
`;

function script(body: string): RedisScript {
  const source = common + body;
  return { source, sha1: createHash('sha1').update(source).digest('hex') };
}

/** collection, key, value, expires or '', now, version (`any` or a number; 0: none), most bytes. Gives version and bytes. */
export const putScript = script(`
local collection, key, value, expires, now, wanted = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
local bytes = tonumber(redis.call('GET', 'stator:bytes') or '0')
if bytes >= tonumber(ARGV[7]) then return { 'full', whole(bytes) } end
local doc = docOf(collection, key)
local old = redis.call('HMGET', doc, 'n', 'e')
local alive = old[1] and isAlive(old[2], now)
if wanted == '0' and alive then return { 'conflict', whole(bytes) } end
if wanted ~= 'any' and wanted ~= '0' and not (alive and old[1] == wanted) then return { 'conflict', whole(bytes) } end
-- Versions begin at the time, so that a key which was deleted never comes back with an old one.
local version = now * 1000
if old[1] and tonumber(old[1]) >= version then version = tonumber(old[1]) + 1 end
local grown = #value + #collection + #key
if old[1] then grown = #value - redis.call('HSTRLEN', doc, 'v') end
redis.call('HSET', doc, 'v', value, 'n', whole(version), 'e', expires)
redis.call('ZADD', indexOf(collection), 0, key)
local expiring = 'd' .. collection .. '\\n' .. key
if expires == '' then redis.call('ZREM', 'stator:expiry', expiring)
else redis.call('ZADD', 'stator:expiry', expires, expiring) end
return { whole(version), whole(redis.call('INCRBY', 'stator:bytes', grown)) }
`);

/** collection, key, version or `any`, now. Gives how many there were. */
export const deleteScript = script(`
local old = redis.call('HMGET', docOf(ARGV[1], ARGV[2]), 'n', 'e')
if not (old[1] and isAlive(old[2], tonumber(ARGV[4]))) then return 0 end
if ARGV[3] ~= 'any' and ARGV[3] ~= old[1] then return 0 end
drop(ARGV[1], ARGV[2])
return 1
`);

/** collection, prefix, most keys at once. Gives how many were deleted. */
export const deletePrefixScript = script(`
local keys = redis.call('ZRANGEBYLEX', indexOf(ARGV[1]), '[' .. ARGV[2], '(' .. ARGV[2] .. '\\127', 'LIMIT', 0, ARGV[3])
for _, key in ipairs(keys) do drop(ARGV[1], key) end
return #keys
`);

/** collection, first and last bound, `asc` or `desc`, limit, now. Gives key, value, version, expires for each. */
export const listScript = script(`
local collection, limit, now = ARGV[1], tonumber(ARGV[5]), tonumber(ARGV[6])
local found, passed = {}, 0
while #found < limit * 4 do
  local keys
  if ARGV[4] == 'desc' then keys = redis.call('ZREVRANGEBYLEX', indexOf(collection), ARGV[3], ARGV[2], 'LIMIT', passed, limit)
  else keys = redis.call('ZRANGEBYLEX', indexOf(collection), ARGV[2], ARGV[3], 'LIMIT', passed, limit) end
  if #keys == 0 then break end
  passed = passed + #keys
  for _, key in ipairs(keys) do
    local doc = redis.call('HMGET', docOf(collection, key), 'v', 'n', 'e')
    if doc[2] and isAlive(doc[3], now) and #found < limit * 4 then
      for _, part in ipairs({ key, doc[1], doc[2], doc[3] }) do found[#found + 1] = part end
    end
  end
end
return found
`);

/** name, window, amount, end of the window, limit. Gives whether it was added and what the window holds. */
export const countScript = script(`
local counter = 'stator:c:' .. ARGV[1]
local window, amount = tonumber(ARGV[2]), tonumber(ARGV[3])
local old = redis.call('HMGET', counter, 'w', 'u')
local used = 0
-- A window that another clock began earlier than ours counts as the one of now.
if old[1] and tonumber(old[1]) >= window then window, used = tonumber(old[1]), tonumber(old[2]) end
if used + amount > tonumber(ARGV[5]) then return { 0, whole(used) } end
redis.call('HSET', counter, 'w', whole(window), 'u', whole(used + amount))
redis.call('ZADD', 'stator:expiry', ARGV[4], 'c' .. ARGV[1])
return { 1, whole(used + amount) }
`);

/** now, most at once. Gives how many had expired. */
export const sweepScript = script(`
local over = redis.call('ZRANGEBYSCORE', 'stator:expiry', '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, entry in ipairs(over) do
  local at = string.find(entry, '\\n', 1, true)
  if string.sub(entry, 1, 1) == 'd' then drop(string.sub(entry, 2, at - 1), string.sub(entry, at + 1))
  else redis.call('DEL', 'stator:c:' .. string.sub(entry, 2)) end
  redis.call('ZREM', 'stator:expiry', entry)
end
return #over
`);
