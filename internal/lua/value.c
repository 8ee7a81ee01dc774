//go:build cgo

// Values between Lua and bytes that Go reads and writes; see wire.go for the form.

#include "vm.h"
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

enum {
  V_NIL,
  V_FALSE,
  V_TRUE,
  V_NUMBER,
  V_INTEGER,
  V_STRING,
  V_TABLE,
  V_END,
  V_REF,
  V_OBJECT,
  V_RECORD,
  V_OPAQUE,
  V_FUNCTION,
  V_ARGUMENT,
  V_READONLY,
};

#define MAX_DEPTH 100
#define MAX_BYTES (256u << 20)

uint32_t weir_u32(weir_reader *r) {
  uint32_t v = 0;
  if (r->end - r->p >= 4) memcpy(&v, r->p, 4), r->p += 4;
  return v;
}

const char *weir_bytes(weir_reader *r, size_t *n) {
  *n = weir_u32(r);
  const char *s = (const char *)r->p;
  r->p += *n;
  return s;
}

typedef struct {
  uint32_t magic;
  uint32_t id;
} object;

#define OBJECT_MAGIC 0x4f424a57

static int call_go(lua_State *L);

static object *to_object(lua_State *L, int i) {
  if (lua_type(L, i) != LUA_TUSERDATA || lua_objlen(L, i) != sizeof(object)) return NULL;
  object *o = lua_touserdata(L, i);
  return o->magic == OBJECT_MAGIC ? o : NULL;
}

static int collect_object(lua_State *L) {
  object *o = to_object(L, 1);
  if (!o) return 0;
  uint32_t id = o->id;
  o->magic = 0; // a resurrected one is no object any more
  weirCollect(weir_of(L)->index, id);
  return 0;
}

static void push_function(lua_State *L, weir_vm *vm, uint32_t id) {
  lua_pushlightuserdata(L, vm);
  lua_pushinteger(L, (lua_Integer)id);
  lua_pushcclosure(L, call_go, 2);
}

void weir_define_type(lua_State *L, weir_vm *vm, weir_reader *r) {
  size_t n;
  const char *name = weir_bytes(r, &n);
  lua_pushlstring(L, name, n);
  luaL_newmetatable(L, lua_tostring(L, -1));
  int meta = lua_gettop(L);
  lua_pushvalue(L, -2);
  lua_setfield(L, meta, "__name");
  lua_newtable(L);
  int methods = lua_gettop(L);
  for (uint32_t count = weir_u32(r); count > 0; count--) {
    const char *s = weir_bytes(r, &n);
    lua_pushlstring(L, s, n);
    push_function(L, vm, weir_u32(r));
    lua_rawset(L, n > 2 && s[0] == '_' && s[1] == '_' ? meta : methods);
  }
  lua_getfield(L, meta, "__index");
  if (lua_isnil(L, -1)) {
    lua_pushvalue(L, methods);
    lua_setfield(L, meta, "__index");
  }
  lua_pop(L, 1);
  lua_pushcfunction(L, collect_object);
  lua_setfield(L, meta, "__gc");
}

// Pushes one encoded value. The bytes come from Go and are well formed; memory may run out.
void weir_push(lua_State *L, weir_vm *vm, weir_reader *r) {
  luaL_checkstack(L, 8, "value nested too deep");
  size_t n;
  const char *s;
  uint8_t tag = r->p < r->end ? *r->p++ : V_NIL;
  switch (tag) {
  case V_FALSE:
  case V_TRUE:
    lua_pushboolean(L, tag == V_TRUE);
    return;
  case V_NUMBER: {
    double d;
    memcpy(&d, r->p, 8);
    r->p += 8;
    lua_pushnumber(L, d);
    return;
  }
  case V_INTEGER: {
    int64_t i;
    memcpy(&i, r->p, 8);
    r->p += 8;
    lua_pushnumber(L, (double)i);
    return;
  }
  case V_STRING:
    s = weir_bytes(r, &n);
    lua_pushlstring(L, s, n);
    return;
  case V_TABLE: {
    uint32_t array = weir_u32(r), hash = weir_u32(r);
    lua_createtable(L, (int)array, (int)hash);
    for (uint32_t i = 1; i <= array; i++) {
      weir_push(L, vm, r);
      lua_rawseti(L, -2, (int)i);
    }
    for (uint32_t i = 0; i < hash; i++) {
      weir_push(L, vm, r);
      weir_push(L, vm, r);
      if (lua_isnil(L, -2)) luaL_error(L, "cannot build table: a key is nil");
      lua_rawset(L, -3);
    }
    return;
  }
  case V_REF:
    lua_rawgeti(L, LUA_REGISTRYINDEX, (int)weir_u32(r));
    return;
  case V_FUNCTION:
    push_function(L, vm, weir_u32(r));
    return;
  case V_ARGUMENT:
    lua_pushvalue(L, (int)weir_u32(r));
    return;
  case V_OBJECT: {
    uint32_t id = weir_u32(r);
    s = weir_bytes(r, &n);
    object *o = lua_newuserdata(L, sizeof *o);
    o->magic = 0;
    o->id = id;
    lua_pushlstring(L, s, n);
    lua_rawget(L, LUA_REGISTRYINDEX);
    if (!lua_istable(L, -1)) luaL_error(L, "cannot build userdata: its type is not defined");
    o->magic = OBJECT_MAGIC;
    lua_setmetatable(L, -2);
    return;
  }
  case V_RECORD:
  case V_READONLY: {
    uint32_t type = weir_u32(r);
    s = weir_bytes(r, &n);
    weir_format *f = weir_find_format(vm, type);
    if (!f) luaL_error(L, "cannot build record: type %d is not defined", (int)type);
    if (!weir_push_record(L, f, (const uint8_t *)s, n, tag == V_READONLY)) luaL_error(L, "cannot build record: malformed payload of type %d", (int)type);
    return;
  }
  default:
    lua_pushnil(L);
  }
}

static void put_tag(weir_buffer *b, uint8_t tag) { weir_put(b, &tag, 1); }

static void put_number(weir_buffer *b, double d) {
  put_tag(b, V_NUMBER);
  weir_put(b, &d, 8);
}

// Encodes the value at i. Raises when it is nested too deep or has no end.
void weir_put_value(lua_State *L, weir_vm *vm, weir_buffer *b, int i, int depth) {
  if (b->len > MAX_BYTES) luaL_error(L, "cannot convert table: larger than 256 MiB");
  if (i < 0) i = lua_gettop(L) + i + 1;
  size_t n;
  const char *s;
  switch (lua_type(L, i)) {
  case LUA_TNONE:
  case LUA_TNIL:
    put_tag(b, V_NIL);
    return;
  case LUA_TBOOLEAN:
    put_tag(b, lua_toboolean(L, i) ? V_TRUE : V_FALSE);
    return;
  case LUA_TNUMBER:
    put_number(b, lua_tonumber(L, i));
    return;
  case LUA_TSTRING:
    s = lua_tolstring(L, i, &n);
    put_tag(b, V_STRING);
    weir_put_bytes(b, s, n);
    return;
  case LUA_TTABLE: {
    if (depth >= MAX_DEPTH) luaL_error(L, "cannot convert table: nested deeper than 100 levels, or contains itself");
    luaL_checkstack(L, 8, "table nested too deep");
    int length = (int)lua_objlen(L, i);
    put_tag(b, V_TABLE);
    weir_put_u32(b, (uint32_t)length);
    for (int k = 1; k <= length; k++) {
      lua_rawgeti(L, i, k);
      weir_put_value(L, vm, b, -1, depth + 1);
      lua_pop(L, 1);
    }
    lua_pushnil(L);
    while (lua_next(L, i)) {
      if (lua_type(L, -2) == LUA_TNUMBER) {
        double key = lua_tonumber(L, -2);
        if (key >= 1 && key <= length && key == (int)key) {
          lua_pop(L, 1);
          continue;
        }
      }
      weir_put_value(L, vm, b, -2, depth + 1);
      weir_put_value(L, vm, b, -1, depth + 1);
      lua_pop(L, 1);
    }
    put_tag(b, V_END);
    return;
  }
  case LUA_TFUNCTION:
    lua_pushvalue(L, i);
    put_tag(b, V_REF);
    weir_put_u32(b, (uint32_t)luaL_ref(L, LUA_REGISTRYINDEX));
    return;
  case LUA_TUSERDATA: {
    object *o = to_object(L, i);
    uint32_t type;
    const uint8_t *p;
    if (o) {
      put_tag(b, V_OBJECT);
      weir_put_u32(b, o->id);
      return;
    }
    if (weir_is_record(L, i, &type, &p, &n)) {
      put_tag(b, V_RECORD);
      weir_put_u32(b, type);
      weir_put_bytes(b, p, n);
      return;
    }
  }
  }
  s = luaL_typename(L, i);
  put_tag(b, V_OPAQUE);
  weir_put_bytes(b, s, strlen(s));
}

static void read_argument(lua_State *L, int i, weir_argument *a) {
  a->type = lua_type(L, i);
  switch (a->type) {
  case LUA_TNUMBER:
    a->n = lua_tonumber(L, i);
    return;
  case LUA_TBOOLEAN:
    a->n = lua_toboolean(L, i);
    return;
  case LUA_TSTRING:
    a->s = lua_tolstring(L, i, &a->len);
    return;
  case LUA_TUSERDATA: {
    object *o = to_object(L, i);
    uint32_t type;
    const uint8_t *p;
    if (o) {
      a->type = WEIR_T_OBJECT;
      a->n = o->id;
    } else if (weir_is_record(L, i, &type, &p, &a->len)) {
      a->type = WEIR_T_RECORD;
      a->n = type;
      a->s = (const char *)p;
    }
  }
  }
}

void weir_read_extra(weir_frame *f, int i, weir_argument *a) { read_argument(f->L, i, a); }

typedef struct {
  weir_frame *frame;
  int i;
} encoding;

static int encode_argument(lua_State *L) {
  encoding *e = lua_touserdata(L, 1);
  weir_put_value(L, weir_of(L), &e->frame->out, 2, 0);
  return 0;
}

// Encodes argument i of a running Go function into its buffer, for tables and functions, and for arguments
// beyond those in the frame. Returns 0, or leaves a message in the buffer.
int weir_encode_argument(weir_frame *f, int i) {
  encoding e = {f, i};
  lua_State *L = f->L;
  f->out.len = 0;
  if (!lua_checkstack(L, 4)) return 1;
  lua_pushcfunction(L, encode_argument);
  lua_pushlightuserdata(L, &e);
  lua_pushvalue(L, i);
  if (lua_pcall(L, 2, 0, 0)) {
    size_t n;
    const char *s = lua_tolstring(L, -1, &n);
    f->out.len = 0;
    if (s) weir_put(&f->out, s, n);
    lua_pop(L, 1);
    return 1;
  }
  return 0;
}

enum { GO_RESULTS, GO_ERROR, GO_THROW, GO_ARGUMENT };

// Every Go function is this closure: upvalues are the VM and the number of the function.
static int call_go(lua_State *L) {
  weir_vm *vm = lua_touserdata(L, lua_upvalueindex(1));
  char here;
  while (vm->depth > 0 && vm->frames[vm->depth - 1]->stack <= &here) vm->depth--;
  if (vm->depth >= WEIR_DEPTH) return luaL_error(L, "too many Go functions inside each other");
  if (!vm->frames[vm->depth]) {
    vm->frames[vm->depth] = calloc(1, sizeof(weir_frame));
    if (!vm->frames[vm->depth]) return luaL_error(L, "not enough memory");
  }
  weir_frame *f = vm->frames[vm->depth++];
  f->L = L;
  f->stack = &here;
  f->count = lua_gettop(L);
  f->out.len = 0;
  int n = f->count < WEIR_ARGUMENTS ? (int)f->count : WEIR_ARGUMENTS;
  for (int i = 0; i < n; i++) read_argument(L, i + 1, &f->arguments[i]);

  lua_State *current = vm->current, *inside = vm->inside;
  vm->current = L;
  vm->inside = L;
  int status = weirCall(vm->index, (int)lua_tointeger(L, lua_upvalueindex(2)), vm->depth - 1, f);
  vm->inside = inside;
  vm->current = current;
  if (vm->hooked) { // compiled code that only calls functions never runs a hook
    vm->depth--;
    weir_stop(L, vm);
  }

  // The frame stays taken while its results are pushed: that may collect garbage, whose
  // finalizers may call Go.
  weir_reader r = {(const uint8_t *)f->out.p, (const uint8_t *)f->out.p + f->out.len};
  int results = 0;
  switch (status) {
  case GO_RESULTS: {
    uint32_t count = weir_u32(&r);
    luaL_checkstack(L, (int)count + 8, "too many results");
    for (uint32_t i = 0; i < count; i++) weir_push(L, vm, &r);
    results = (int)count;
    vm->depth--;
    return results;
  }
  case GO_THROW:
    weir_push(L, vm, &r);
    break;
  case GO_ARGUMENT: {
    int argument = (int)weir_u32(&r);
    lua_pushlstring(L, (const char *)r.p, (size_t)(r.end - r.p));
    vm->depth--;
    return luaL_argerror(L, argument, lua_tostring(L, -1));
  }
  default:
    luaL_where(L, 1);
    lua_pushlstring(L, (const char *)r.p, (size_t)(r.end - r.p));
    lua_concat(L, 2);
  }
  vm->depth--;
  return lua_error(L);
}
