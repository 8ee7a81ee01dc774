//go:build cgo

// Records: formats, the decoder, tables and read-only userdata. A payload comes from the network: a scan finds
// every field and checks all bounds first, and only then Lua values are built. A payload of the usual form is checked
// while they are.

#include "vm.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// As Kind in format.go.
enum { K_BOOL, K_INT16, K_INT32, K_UINT32, K_INT64, K_UINT64, K_DOUBLE, K_STRING, K_MESSAGE, K_OPAQUE };
enum { ABSENT_NEVER, ABSENT_ZERO, ABSENT_MINUS_ONE, ABSENT_EMPTY };
enum { OPTIONAL = 1, REPEATED = 2, HIDDEN = 4, PLAIN = 8, SENT = 16 };

#define MAX_FIELDS 250
#define MAX_NESTING 16
#define MAX_PARAMETERS 190 // LuaJIT takes 200 locals

// What every record is read with: small, so that it stays in the processor's cache. PLAIN: one number or text. SENT: a record had it.
typedef struct {
  uint8_t kind, flags, absent, wire;
} field;

struct weir_format {
  uint32_t type;
  int protobuf, constants, fields, shown;
  int keys;      // registry reference: array of names, constants first
  int metatable; // registry reference: of read-only records
  int build, deliver; // registry references: see compile; 0 before it was tried, LUA_NOREF when there are none
  int passed;         // how many of the fields these functions take
  uint8_t *order;     // their indices: those that a record had
  double *constant;
  field *field;
  uint32_t *number;      // of each field in protobuf
  weir_format **message; // of each field that is one
  uint8_t *by_number;    // field + 1 by protobuf number
  uint32_t numbers;
};

// Where the scan found a field.
typedef struct {
  union {
    const uint8_t *p; // text, or from the first occurrence of a repeated field on
    int64_t i;
    double d;
  };
  uint32_t len; // of p
  int present;
} slot;

void weir_free_formats(weir_vm *vm) {
  for (int i = 0; i < vm->format_count; i++) {
    free(vm->formats[i]->constant);
    free(vm->formats[i]->order);
    free(vm->formats[i]->field);
    free(vm->formats[i]->number);
    free(vm->formats[i]->message);
    free(vm->formats[i]->by_number);
    free(vm->formats[i]);
  }
  free(vm->formats);
  free(vm->table);
}

static uint32_t hash(uint32_t type) { return type * 2654435761u >> 7; }

weir_format *weir_find_format(weir_vm *vm, uint32_t type) {
  if (!vm->table_size) return NULL;
  for (uint32_t i = hash(type);; i++) {
    weir_format *f = vm->table[i & (vm->table_size - 1)];
    if (!f || f->type == type) return f;
  }
}

static void insert_format(weir_vm *vm, weir_format *f) {
  if (vm->table_used * 2 >= vm->table_size) {
    uint32_t old_size = vm->table_size;
    weir_format **old = vm->table;
    vm->table_size = old_size ? old_size * 2 : 256;
    vm->table = calloc(vm->table_size, sizeof *vm->table);
    if (!vm->table) abort();
    vm->table_used = 0;
    for (uint32_t i = 0; i < old_size; i++)
      if (old[i]) insert_format(vm, old[i]);
    free(old);
  }
  for (uint32_t i = hash(f->type);; i++) {
    weir_format **at = &vm->table[i & (vm->table_size - 1)];
    if (*at && (*at)->type != f->type) continue;
    if (!*at) vm->table_used++;
    *at = f; // a new definition replaces the old one, which lives on for its records
    return;
  }
}

// Decoding

static int long_varint(const uint8_t **p, const uint8_t *end, uint64_t *v) {
  uint64_t x = 0;
  const uint8_t *q = *p;
  for (int shift = 0; shift < 70; shift += 7) {
    if (q >= end) return 0;
    uint8_t c = *q++;
    if (shift < 64) x |= (uint64_t)(c & 0x7f) << shift;
    if (!(c & 0x80)) {
      *p = q;
      *v = x;
      return 1;
    }
  }
  return 0;
}

// Most have one byte or two, and what is called for every field is better in its caller.
static inline int varint(const uint8_t **p, const uint8_t *end, uint64_t *v) {
  const uint8_t *q = *p;
  if (q < end && q[0] < 0x80) {
    *v = q[0];
    *p = q + 1;
    return 1;
  }
  if (end - q > 1 && q[1] < 0x80) {
    *v = (uint64_t)(q[0] & 0x7f) | (uint64_t)q[1] << 7;
    *p = q + 2;
    return 1;
  }
  return long_varint(p, end, v);
}

static uint64_t big_endian(const uint8_t *p, int n) {
  uint64_t v = 0;
  while (n-- > 0) v = v << 8 | *p++;
  return v;
}

// Exact for up to 15 digits and a scale up to 10^22 (both are exact doubles); strtod otherwise.
static int decimal(const char *s, size_t n, double *d) {
  static const double ten[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  size_t i = n > 0 && s[0] == '-';
  uint64_t m = 0;
  int digits = 0, scale = 0, point = 0;
  for (; i < n; i++) {
    if (s[i] >= '0' && s[i] <= '9') {
      m = m * 10 + (uint64_t)(s[i] - '0');
      digits++;
      scale += point;
    } else if (s[i] == '.' && !point) point = 1;
    else break;
    if (digits > 15) break;
  }
  if (i == n && digits > 0 && digits <= 15) {
    double v = (double)m / ten[scale];
    *d = s[0] == '-' ? -v : v;
    return 1;
  }
  if (n == 0) {
    *d = 0;
    return 1;
  }
  char *end;
  *d = strtod(s, &end); // the NUL was found within the payload
  return end == s + n;
}

// Scans return FITS, or 0 when the payload does not fit.
enum { FITS = 1, FITS_ANEW = 3 }; // anew: with a member that no record had so far

static int scan_positional(const weir_format *f, const uint8_t *p, const uint8_t *end, slot *slots) {
  int fits = FITS;
  for (int i = 0; i < f->fields; i++) {
    const field *d = &f->field[i];
    slot *s = &slots[i];
    size_t left = (size_t)(end - p);
    int size = 0;
    s->present = 1;
    switch (d->kind) {
    case K_BOOL:
      size = 1;
      if (left < 1) return 0;
      s->i = *p != 0;
      break;
    case K_INT16:
      size = 2;
      if (left < 2) return 0;
      s->i = (int16_t)big_endian(p, 2);
      break;
    case K_INT32:
      size = 4;
      if (left < 4) return 0;
      s->i = (int32_t)big_endian(p, 4);
      break;
    case K_UINT32:
      size = 4;
      if (left < 4) return 0;
      s->i = (int64_t)big_endian(p, 4);
      break;
    case K_INT64:
    case K_UINT64:
      size = 8;
      if (left < 8) return 0;
      s->i = (int64_t)big_endian(p, 8);
      break;
    default: { // text
      const uint8_t *nul = memchr(p, 0, left);
      if (!nul) return 0;
      s->p = p;
      s->len = (uint32_t)(nul - p);
      if (d->kind == K_DOUBLE && !decimal((const char *)p, s->len, &s->d)) return 0;
      p = nul + 1;
    }
    }
    p += size;
    switch (d->absent) {
    case ABSENT_ZERO:
      if (d->kind == K_DOUBLE ? s->d == 0 : s->i == 0) s->present = 0;
      break;
    case ABSENT_MINUS_ONE:
      if (d->kind == K_DOUBLE ? s->d == -1 : s->i == (d->kind == K_UINT32 ? (int64_t)0xffffffff : -1)) s->present = 0;
      break;
    case ABSENT_EMPTY:
      if (s->len == 0) s->present = 0;
    }
    if (s->present && !(d->flags & SENT)) fits = FITS_ANEW;
  }
  return fits;
}

// A bool is any number but 0.
static inline int64_t integer_of(uint8_t kind, uint64_t v) {
  static const uint8_t unused[] = {[K_INT16] = 48, [K_INT32] = 32, [K_UINT32] = 32, [K_OPAQUE] = 0}; // bits
  int64_t i = (int64_t)(v << unused[kind]) >> unused[kind];
  return kind == K_UINT32 ? (uint32_t)i : i;
}

// One wire value: its number or bytes. Groups are not supported, nobody sends them.
static inline int wire_value(const uint8_t **p, const uint8_t *end, uint32_t wire, uint64_t *v, const uint8_t **bytes) {
  size_t left;
  switch (wire) {
  case 0:
    return varint(p, end, v);
  case 1:
    if (end - *p < 8) return 0;
    memcpy(v, *p, 8);
    *p += 8;
    return 1;
  case 5:
    if (end - *p < 4) return 0;
    *v = 0;
    memcpy(v, *p, 4);
    *p += 4;
    return 1;
  case 2:
    if (!varint(p, end, v)) return 0;
    left = (size_t)(end - *p);
    if (*v > left || *v > UINT32_MAX) return 0;
    *bytes = *p;
    *p += *v;
    return 1;
  }
  return 0;
}

static int scan_protobuf(const weir_format *f, const uint8_t *p, const uint8_t *end, slot *slots, int depth);

static int check_packed(const field *d, const uint8_t *p, const uint8_t *end) {
  if (d->kind == K_DOUBLE) return (end - p) % 8 == 0;
  uint64_t v;
  while (p < end)
    if (!varint(&p, end, &v)) return 0;
  return 1;
}

static int scan_protobuf(const weir_format *f, const uint8_t *p, const uint8_t *end, slot *slots, int depth) {
  if (depth > MAX_NESTING) return 0;
  int fits = FITS;
  if (slots) memset(slots, 0, sizeof *slots * (size_t)f->fields);
  while (p < end) {
    const uint8_t *start = p, *bytes = NULL;
    uint64_t tag, v;
    if (!varint(&p, end, &tag)) return 0;
    uint64_t number = tag >> 3;
    uint32_t wire = tag & 7;
    int index = number < f->numbers ? f->by_number[number] - 1 : -1;
    if (index < 0) { // a member of a newer sender
      if (number == 0 || tag > UINT32_MAX || !wire_value(&p, end, wire, &v, &bytes)) return 0;
      continue;
    }
    const field *d = &f->field[index];
    if (slots && d->flags & PLAIN && wire == d->wire) { // as nearly all are
      slot *s = &slots[index];
      switch (wire) {
      case 0:
        if (!varint(&p, end, &v)) return 0;
        s->i = integer_of(d->kind, v);
        break;
      case 1:
        if (end - p < 8) return 0;
        memcpy(&s->d, p, 8);
        p += 8;
        break;
      case 2:
        if (!varint(&p, end, &v) || v > (size_t)(end - p) || v > UINT32_MAX) return 0;
        s->p = p;
        s->len = (uint32_t)v;
        p += v;
      }
      s->present = 1;
      if (!(d->flags & SENT)) fits = FITS_ANEW;
      continue;
    }
    if (!wire_value(&p, end, wire, &v, &bytes)) return 0;
    if (d->kind != K_OPAQUE && wire != d->wire) {
      if (!(d->flags & REPEATED) || wire != 2) return 0;
      if (!check_packed(d, bytes, bytes + v)) return 0;
    } else if (d->kind == K_MESSAGE && !scan_protobuf(f->message[index], bytes, bytes + v, NULL, depth + 1)) return 0;
    if (!slots) continue;
    slot *s = &slots[index];
    if (d->flags & REPEATED) {
      if (!s->present) {
        s->p = start;
        s->len = (uint32_t)(end - start);
      }
    } else if (bytes) {
      s->p = bytes;
      s->len = (uint32_t)v;
    } else s->i = (int64_t)v; // nobody looks at it
    s->present = 1;
    if (!(d->flags & SENT)) fits = FITS_ANEW;
  }
  return fits;
}

static int scan(const weir_format *f, const uint8_t *p, size_t n, slot *slots) {
  return f->protobuf ? scan_protobuf(f, p, p + n, slots, 0) : scan_positional(f, p, p + n, slots);
}

// Building

static int push_table(lua_State *L, const weir_format *f, const slot *slots, int depth);

static void push_message(lua_State *L, const weir_format *f, const uint8_t *p, size_t n, int depth) {
  luaL_checkstack(L, 12, "record nested too deep");
  slot *slots = lua_newuserdata(L, sizeof(slot) * (size_t)(f->fields + 1));
  scan_protobuf(f, p, p + n, slots, depth); // checked when the whole was scanned
  push_table(L, f, slots, depth);
  lua_remove(L, -2);
}

static void push_repeated(lua_State *L, const weir_format *f, int i, const slot *s, int depth) {
  const field *d = &f->field[i];
  lua_newtable(L);
  if (!s->present) return;
  const uint8_t *p = s->p, *end = s->p + s->len;
  int count = 0;
  while (p < end) {
    uint64_t tag, v = 0;
    const uint8_t *bytes = NULL;
    if (!varint(&p, end, &tag) || !wire_value(&p, end, tag & 7, &v, &bytes)) return;
    if (tag >> 3 != f->number[i]) continue;
    double number;
    if (d->kind == K_OPAQUE) {
      lua_pushliteral(L, "not_implemented");
    } else if (d->kind == K_STRING) {
      lua_pushlstring(L, (const char *)bytes, (size_t)v);
    } else if (d->kind == K_MESSAGE) {
      push_message(L, f->message[i], bytes, (size_t)v, depth + 1);
    } else if ((tag & 7) == 2) { // packed
      const uint8_t *last = bytes + v;
      while (bytes < last) {
        if (d->kind == K_DOUBLE) {
          memcpy(&number, bytes, 8);
          bytes += 8;
          lua_pushnumber(L, number);
        } else {
          uint64_t x;
          if (!varint(&bytes, last, &x)) return;
          if (d->kind == K_BOOL) lua_pushboolean(L, x != 0);
          else lua_pushnumber(L, (double)integer_of(d->kind, x));
        }
        lua_rawseti(L, -2, ++count);
      }
      continue;
    } else if (d->kind == K_DOUBLE) {
      memcpy(&number, &v, 8);
      lua_pushnumber(L, number);
    } else if (d->kind == K_BOOL) lua_pushboolean(L, v != 0);
    else lua_pushnumber(L, (double)integer_of(d->kind, v));
    lua_rawseti(L, -2, ++count);
  }
}

// Whether the member exists in the record.
static inline int visible(const weir_format *f, int i, const slot *s) {
  return s->present || (f->protobuf && !(f->field[i].flags & OPTIONAL));
}

static inline void push_field(lua_State *L, const weir_format *f, int i, const slot *s, int depth) {
  if (f->field[i].flags & REPEATED) {
    push_repeated(L, f, i, s, depth);
    return;
  }
  switch (f->field[i].kind) {
  case K_BOOL:
    lua_pushboolean(L, s->i != 0);
    return;
  case K_DOUBLE:
    lua_pushnumber(L, s->d);
    return;
  case K_STRING:
    lua_pushlstring(L, s->p ? (const char *)s->p : "", s->len);
    return;
  case K_MESSAGE:
    if (depth < MAX_NESTING) push_message(L, f->message[i], s->p ? s->p : (const uint8_t *)"", s->len, depth + 1);
    else lua_newtable(L);
    return;
  case K_OPAQUE:
    lua_pushliteral(L, "not_implemented");
    return;
  }
  lua_pushnumber(L, (double)s->i);
}

// What stands in a constructor for a member that is not passed to it: "" for none. NULL when it is passed in any case.
static const char *unsent(const weir_format *f, const field *d) {
  if (!f->protobuf || (d->flags & OPTIONAL)) return "";
  if (d->flags & REPEATED) return NULL; // a table of its own for each record
  switch (d->kind) {
  case K_BOOL:
    return "false";
  case K_STRING:
    return "\"\"";
  case K_MESSAGE:
  case K_OPAQUE:
    return NULL;
  }
  return "0";
}

// Makes two Lua functions of a format. One builds a table of the values of the members, the other
// builds it and hands it to a function: with a constructor LuaJIT copies a table that has all keys,
// and a table that the function does not keep it need not make at all. Members that no record had
// so far, often half of them, are constants: they are passed when one has them, with other functions.
static void compile(lua_State *L, weir_format *f) {
  weir_buffer parameters = {0}, members = {0}, all = {0};
  char text[64];
  int top = lua_gettop(L), usable = f->shown > 0;
  lua_rawgeti(L, LUA_REGISTRYINDEX, f->keys);
  f->passed = 0;
  for (int i = 0; i < f->constants + f->fields; i++) {
    const field *d = i < f->constants ? NULL : &f->field[i - f->constants];
    if (d && d->flags & HIDDEN) continue;
    lua_rawgeti(L, top + 1, i + 1);
    size_t n;
    const char *name = lua_tolstring(L, -1, &n);
    lua_pop(L, 1); // keys has it
    for (size_t j = 0; j < n; j++)
      if (!isalnum((unsigned char)name[j]) && name[j] != '_') usable = 0;
    int sent = d && d->flags & SENT;
    const char *constant = !d || sent ? NULL : unsent(f, d);
    if (d && !sent && !constant[0]) continue;
    weir_put(&members, "[\"", 2);
    weir_put(&members, name, n);
    if (!d) weir_put(&members, text, (size_t)snprintf(text, sizeof text, "\"]=%.17g,", f->constant[i]));
    else if (sent) {
      weir_put(&parameters, text, (size_t)snprintf(text, sizeof text, "%sa%d", f->passed ? "," : "", f->passed));
      weir_put(&members, text, (size_t)snprintf(text, sizeof text, "\"]=a%d,", f->passed));
      f->order[f->passed++] = (uint8_t)(i - f->constants);
    } else weir_put(&members, text, (size_t)snprintf(text, sizeof text, "\"]=%s,", constant));
  }
  if (f->build) {
    luaL_unref(L, LUA_REGISTRYINDEX, f->build);
    luaL_unref(L, LUA_REGISTRYINDEX, f->deliver);
  }
  f->build = f->deliver = LUA_NOREF;
  if (usable && f->passed <= MAX_PARAMETERS) {
    weir_put(&all, "return function(", 16);
    weir_put(&all, parameters.p, parameters.len);
    weir_put(&all, ") return {", 10);
    weir_put(&all, members.p, members.len);
    weir_put(&all, "} end, function(f", 17);
    weir_put(&all, ",", f->passed > 0);
    weir_put(&all, parameters.p, parameters.len);
    weir_put(&all, ") return f({", 12);
    weir_put(&all, members.p, members.len);
    weir_put(&all, "}) end", 6);
    int failed = luaL_loadbuffer(L, all.p, all.len, WEIR_PRELUDE "record.lua") || lua_pcall(L, 0, 2, 0);
    if (!failed) {
      f->deliver = luaL_ref(L, LUA_REGISTRYINDEX);
      f->build = luaL_ref(L, LUA_REGISTRYINDEX);
    }
  }
  free(parameters.p);
  free(members.p);
  free(all.p);
  lua_settop(L, top);
}

// Makes the functions anew when a record has members that none had before.
static inline void prepare(lua_State *L, weir_format *f, const slot *slots, int fits) {
  if (f->build && fits == FITS) return;
  for (int i = 0; i < f->fields; i++)
    if (slots[i].present) f->field[i].flags |= SENT;
  compile(L, f);
}

// Pushes one of the two functions of a format and the values it takes; handler is 1 when it also takes the function on
// top of the stack, before them. Returns how many arguments these are. The function takes
// the place of the handler, which so is on the stack once: with another value below it, code that LuaJIT has compiled
// found the end of the stack elsewhere, and the error of a recursion without end named another line.
static int push_call(lua_State *L, const weir_format *f, const slot *slots, const int *function, int handler) {
  luaL_checkstack(L, f->passed + 12, "record with too many members");
  for (;;) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, *function);
    lua_insert(L, -1 - handler);
    int top = lua_gettop(L), passed = f->passed;
    for (int j = 0; j < passed; j++) {
      int i = f->order[j];
      if (visible(f, i, &slots[i])) push_field(L, f, i, &slots[i], 0);
      else lua_pushnil(L);
    }
    if (passed == f->passed) return passed + handler;
    lua_settop(L, top); // a finalizer of the script has got a record with more members meanwhile
    lua_remove(L, -1 - handler);
    luaL_checkstack(L, f->passed + 12, "record with too many members");
  }
}

// A member that the payload does not have.
static void push_unset(lua_State *L, const weir_format *f, int i) {
  static const slot unset;
  if (visible(f, i, &unset)) push_field(L, f, i, &unset, 0);
  else lua_pushnil(L);
}

// Pushes the values of a function straight from the payload. Returns 0, and what is pushed is no use, unless its members come in the order
// of the format, once each, and are numbers and texts that records had before, or members that nobody sees.
static int push_in_order(lua_State *L, const weir_format *f, const uint8_t *p, const uint8_t *end) {
  int next = 0, passed = f->passed;
  while (p < end) {
    uint64_t tag, v;
    const uint8_t *bytes;
    double number;
    if (!varint(&p, end, &tag)) return 0;
    int i = tag >> 3 < f->numbers ? f->by_number[tag >> 3] - 1 : -1;
    if (i < 0) { // a member of a newer sender
      if (tag >> 3 == 0 || tag > UINT32_MAX || !wire_value(&p, end, tag & 7, &v, &bytes)) return 0;
      continue;
    }
    const field *d = &f->field[i];
    if (!(d->flags & PLAIN) || (tag & 7) != d->wire) return 0;
    if (d->flags & HIDDEN) {
      if (!wire_value(&p, end, tag & 7, &v, &bytes)) return 0;
      continue;
    }
    if (!(d->flags & SENT)) return 0;
    while (next < passed && f->order[next] < i) push_unset(L, f, f->order[next++]);
    if (next == passed || f->order[next++] != i) return 0;
    switch (d->kind) {
    case K_DOUBLE:
      if (end - p < 8) return 0;
      memcpy(&number, p, 8);
      p += 8;
      lua_pushnumber(L, number);
      break;
    case K_STRING:
      if (!varint(&p, end, &v) || v > (size_t)(end - p)) return 0;
      lua_pushlstring(L, (const char *)p, (size_t)v);
      p += v;
      break;
    case K_BOOL:
      if (!varint(&p, end, &v)) return 0;
      lua_pushboolean(L, v != 0);
      break;
    default:
      if (!varint(&p, end, &v)) return 0;
      lua_pushnumber(L, (double)integer_of(d->kind, v));
    }
  }
  while (next < passed) push_unset(L, f, f->order[next++]);
  return passed == f->passed; // see push_call
}

// As push_call for deliver and a handler, without a scan: most payloads need none. For others it returns 0 and leaves the
// stack as it was.
static int push_call_in_order(lua_State *L, const weir_format *f, const uint8_t *p, const uint8_t *end) {
  if (!f->protobuf || f->deliver <= 0) return 0;
  int handler = lua_gettop(L), passed = f->passed;
  luaL_checkstack(L, passed + 12, "record with too many members");
  lua_rawgeti(L, LUA_REGISTRYINDEX, f->deliver);
  lua_insert(L, handler);
  if (push_in_order(L, f, p, end)) return passed + 1;
  lua_settop(L, handler + 1);
  lua_remove(L, handler);
  return 0;
}

static int push_table(lua_State *L, const weir_format *f, const slot *slots, int depth) {
  lua_createtable(L, 0, f->constants + f->shown);
  int t = lua_gettop(L);
  lua_rawgeti(L, LUA_REGISTRYINDEX, f->keys);
  for (int i = 0; i < f->constants; i++) {
    lua_rawgeti(L, t + 1, i + 1);
    lua_pushnumber(L, f->constant[i]);
    lua_rawset(L, t);
  }
  for (int i = 0; i < f->fields; i++) {
    if ((f->field[i].flags & HIDDEN) || !visible(f, i, &slots[i])) continue;
    lua_rawgeti(L, t + 1, f->constants + i + 1);
    push_field(L, f, i, &slots[i], depth);
    lua_rawset(L, t);
  }
  lua_settop(L, t);
  return 1;
}

// Read-only records

typedef struct {
  uint32_t magic, len;
  const weir_format *format;
  slot slots[]; // one for each field, then the payload they point into
} record;

static size_t record_size(const weir_format *f, size_t n) { return sizeof(record) + sizeof(slot) * (size_t)f->fields + n; }

static uint8_t *payload_of(record *r) { return (uint8_t *)(r->slots + r->format->fields); }

static record *to_record(lua_State *L, int i) {
  if (lua_type(L, i) != LUA_TUSERDATA || lua_objlen(L, i) < sizeof(record)) return NULL;
  record *r = lua_touserdata(L, i);
  return r->magic == WEIR_RECORD_MAGIC && lua_objlen(L, i) == record_size(r->format, r->len) ? r : NULL;
}

int weir_is_record(lua_State *L, int i, uint32_t *type, const uint8_t **p, size_t *n) {
  record *r = to_record(L, i);
  if (!r) return 0;
  *type = r->format->type;
  *p = payload_of(r);
  *n = r->len;
  return 1;
}

// Calls the function on top of the stack with a record, and leaves its first result in its place.
// Returns 0 when the payload does not fit; given is set when the function is called.
int weir_call_with_record(lua_State *L, weir_format *f, const uint8_t *p, size_t n, int read_only, int64_t *given) {
  slot slots[MAX_FIELDS];
  if (!read_only && lua_isfunction(L, -1)) {
    int arguments = push_call_in_order(L, f, p, p + n);
    if (!arguments) {
      int fits = n > UINT32_MAX ? 0 : scan(f, p, n, slots);
      if (!fits) return 0;
      prepare(L, f, slots, fits);
      if (f->deliver != LUA_NOREF) arguments = push_call(L, f, slots, &f->deliver, 1);
    }
    if (arguments) {
      ++*given;
      lua_call(L, arguments, 1);
      return 1;
    }
  }
  if (!weir_push_record(L, f, p, n, read_only)) return 0;
  ++*given;
  lua_call(L, 1, 1);
  return 1;
}

// Pushes a record, or returns 0 when the payload does not fit.
int weir_push_record(lua_State *L, weir_format *f, const uint8_t *p, size_t n, int read_only) {
  if (n > UINT32_MAX) return 0;
  if (!read_only) {
    slot slots[MAX_FIELDS];
    int fits = scan(f, p, n, slots);
    if (!fits) return 0;
    prepare(L, f, slots, fits);
    if (f->build == LUA_NOREF) return push_table(L, f, slots, 0);
    lua_call(L, push_call(L, f, slots, &f->build, 0), 1);
    return 1;
  }
  record *r = lua_newuserdata(L, record_size(f, n));
  r->magic = 0;
  r->len = (uint32_t)n;
  r->format = f;
  memcpy(payload_of(r), p, n);
  if (!scan(f, payload_of(r), n, r->slots)) {
    lua_pop(L, 1);
    return 0;
  }
  r->magic = WEIR_RECORD_MAGIC;
  lua_rawgeti(L, LUA_REGISTRYINDEX, f->metatable);
  lua_setmetatable(L, -2);
  return 1;
}

// Member i, constants first; 0 when it is absent, nothing pushed.
static int push_member(lua_State *L, const record *r, int i) {
  const weir_format *f = r->format;
  if (i < f->constants) {
    lua_pushnumber(L, f->constant[i]);
    return 1;
  }
  i -= f->constants;
  if (!visible(f, i, &r->slots[i])) return 0;
  push_field(L, f, i, &r->slots[i], 0);
  return 1;
}

// d.name; upvalue 1 maps names to member numbers.
static int record_index(lua_State *L) {
  record *r = to_record(L, 1);
  if (!r || lua_type(L, 2) != LUA_TSTRING) return 0;
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  if (!lua_isnumber(L, -1)) return 0;
  int i = (int)lua_tointeger(L, -1);
  if (i >= r->format->constants + r->format->fields) return 0;
  return push_member(L, r, i);
}

// The iterator: constants, then the fields in their order. Absent positional members are visited
// with nil, unset optional ones are skipped.
static int record_next(lua_State *L) {
  record *r = to_record(L, 1);
  if (!r) return luaL_argerror(L, 1, "record expected");
  const weir_format *f = r->format;
  int i = 0;
  if (!lua_isnoneornil(L, 2)) {
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    if (!lua_isnumber(L, -1)) return luaL_error(L, "invalid key to 'next'");
    i = (int)lua_tointeger(L, -1) + 1;
  }
  lua_rawgeti(L, LUA_REGISTRYINDEX, f->keys);
  int keys = lua_gettop(L);
  for (; i < f->constants + f->fields; i++) {
    if (i >= f->constants && (f->field[i - f->constants].flags & HIDDEN)) continue;
    lua_rawgeti(L, keys, i + 1);
    if (push_member(L, r, i)) return 2;
    if (!f->protobuf) {
      lua_pushnil(L);
      return 2;
    }
    lua_settop(L, keys);
  }
  return 0;
}

static int record_pairs(lua_State *L) {
  if (!to_record(L, 1)) return luaL_argerror(L, 1, "record expected");
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushvalue(L, 1);
  lua_pushnil(L);
  return 3;
}

static int record_newindex(lua_State *L) {
  return luaL_error(L, "attempt to assign to field '%s' of a read-only record", lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?");
}

static int record_tostring(lua_State *L) {
  lua_pushfstring(L, "%s: %p", lua_tostring(L, lua_upvalueindex(1)), lua_touserdata(L, 1));
  return 1;
}

static void push_metatable(lua_State *L, const char *name, int members) {
  lua_createtable(L, 0, 8);
  int m = lua_gettop(L);
  lua_pushvalue(L, members);
  lua_pushcclosure(L, record_index, 1);
  lua_setfield(L, m, "__index");
  lua_pushvalue(L, members);
  lua_pushcclosure(L, record_next, 1);
  lua_pushvalue(L, -1);
  lua_setfield(L, m, "__next");
  lua_pushcclosure(L, record_pairs, 1);
  lua_setfield(L, m, "__pairs");
  lua_pushcfunction(L, record_newindex);
  lua_setfield(L, m, "__newindex");
  lua_pushstring(L, name);
  lua_pushvalue(L, -1);
  lua_setfield(L, m, "__name");
  lua_pushcclosure(L, record_tostring, 1);
  lua_setfield(L, m, "__tostring");
}

static uint8_t wire_of(uint8_t kind) {
  switch (kind) {
  case K_DOUBLE:
    return 1;
  case K_STRING:
  case K_MESSAGE:
    return 2;
  }
  return 0;
}

// Reads what DefineRecord encoded: the type and a list of formats, the root first; messages are
// references into the list.
void weir_define_record(lua_State *L, weir_vm *vm, weir_reader *r) {
  uint32_t type = weir_u32(r), count = weir_u32(r);
  int base = vm->format_count;
  weir_format **all = realloc(vm->formats, sizeof *all * (size_t)(base + (int)count));
  if (!all) abort();
  vm->formats = all;
  for (uint32_t k = 0; k < count; k++) {
    all[base + (int)k] = calloc(1, sizeof(weir_format));
    if (!all[base + (int)k]) abort();
    vm->format_count++;
  }
  for (uint32_t k = 0; k < count; k++) {
    weir_format *f = all[base + (int)k];
    size_t n;
    const char *s = weir_bytes(r, &n);
    lua_pushlstring(L, s, n);
    const char *name = lua_tostring(L, -1);
    f->type = type;
    f->protobuf = (int)weir_u32(r);
    f->constants = (int)weir_u32(r);
    f->fields = (int)weir_u32(r);
    f->numbers = weir_u32(r);
    f->constant = calloc((size_t)f->constants + 1, sizeof *f->constant);
    f->field = calloc((size_t)f->fields + 1, sizeof *f->field);
    f->order = calloc((size_t)f->fields + 1, 1);
    f->number = calloc((size_t)f->fields + 1, sizeof *f->number);
    f->message = calloc((size_t)f->fields + 1, sizeof *f->message);
    f->by_number = calloc((size_t)f->numbers + 1, sizeof *f->by_number);
    if (!f->constant || !f->field || !f->order || !f->number || !f->message || !f->by_number) abort();
    lua_createtable(L, f->constants + f->fields, 0);
    int keys = lua_gettop(L);
    lua_createtable(L, 0, f->constants + f->fields);
    int members = lua_gettop(L);
    for (int i = 0; i < f->constants + f->fields; i++) {
      s = weir_bytes(r, &n);
      lua_pushlstring(L, s, n);
      lua_pushvalue(L, -1);
      lua_rawseti(L, keys, i + 1);
      if (n) {
        lua_pushinteger(L, i);
        lua_rawset(L, members);
      } else lua_pop(L, 1);
      if (i < f->constants) {
        int64_t value = (int64_t)weir_u32(r);
        value |= (int64_t)((uint64_t)weir_u32(r) << 32);
        f->constant[i] = (double)value;
        continue;
      }
      int at = i - f->constants;
      field *d = &f->field[at];
      f->number[at] = weir_u32(r);
      d->kind = (uint8_t)weir_u32(r);
      d->flags = (uint8_t)weir_u32(r) | (n ? 0 : HIDDEN);
      d->absent = (uint8_t)weir_u32(r);
      d->wire = wire_of(d->kind);
      uint32_t message = weir_u32(r);
      if (d->kind == K_MESSAGE) f->message[at] = all[base + (int)message];
      else if (d->kind != K_OPAQUE && !(d->flags & REPEATED)) d->flags |= PLAIN;
      if (n && !unsent(f, d)) d->flags |= SENT;
      if (f->protobuf && f->number[at] < f->numbers) f->by_number[f->number[at]] = (uint8_t)(at + 1);
      if (n) f->shown++;
    }
    push_metatable(L, name, members);
    f->metatable = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, keys);
    f->keys = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, 0);
  }
  insert_format(vm, all[base]);
}
