//go:build cgo

// Dispatch: a batch of records through the script's functions in one call from Go.

#include "vm.h"
#include <stdlib.h>
#include <string.h>

#include "_cgo_export.h"

enum { STOP_END, STOP_LIMIT, STOP_DEADLINE, STOP_EXIT, STOP_BATCH };
enum { CAUSE_ERROR, CAUSE_NOT_BOOLEAN, CAUSE_MALFORMED, CAUSE_DEADLINE };

typedef struct {
  weir_vm *vm;
  weir_dispatch_state *s;
  const uint8_t *start, *p, *end;
  const char *filter, *handler;
  weir_buffer *errors;
  uint32_t type;
  int in_record;
} dispatch;

static int uvarint(const uint8_t **p, const uint8_t *end, uint64_t *v) {
  uint64_t x = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (*p >= end) return 0;
    uint8_t c = *(*p)++;
    x |= (uint64_t)(c & 0x7f) << shift;
    if (!(c & 0x80)) {
      *v = x;
      return 1;
    }
  }
  return 0;
}

static void describe(dispatch *d, int cause, const char *message, const char *file, int line) {
  weir_dispatch_state *s = d->s;
  if (s->described >= s->messages) return;
  s->described++;
  weir_put_u32(d->errors, (uint32_t)(s->records - 1));
  weir_put_u32(d->errors, d->type);
  weir_put_u32(d->errors, (uint32_t)cause);
  if (!message) {
    weir_put_error(d->errors, d->vm);
    return;
  }
  weir_put_bytes(d->errors, message, strlen(message));
  weir_put_bytes(d->errors, file, strlen(file));
  weir_put_u32(d->errors, (uint32_t)line);
  weir_put_u32(d->errors, 0);
  weir_put_bytes(d->errors, NULL, 0);
}

static void not_boolean(lua_State *L, dispatch *d, const char *function) {
  d->s->not_boolean++;
  if (d->s->described >= d->s->messages) return;
  const char *message = lua_pushfstring(L, "'%s' must return a boolean, got %s", function, lua_isnil(L, -1) ? "nil" : luaL_typename(L, -1));
  lua_Debug ar = {.linedefined = 0};
  lua_pushstring(L, function);
  lua_rawget(L, LUA_GLOBALSINDEX);
  if (lua_isfunction(L, -1)) lua_getinfo(L, ">S", &ar); // which pops it
  describe(d, CAUSE_NOT_BOOLEAN, message, ar.linedefined > 0 ? weir_file(&ar) : "", ar.linedefined > 0 ? ar.linedefined : 0);
}

enum { FILTER = 2, HANDLER, KEEP = HANDLER };

// Pushes the global with the name at an index and returns its type. What a script defines needs no metamethod, which
// it may have all the same.
static int push_global(lua_State *L, int name) {
  lua_pushvalue(L, name);
  lua_rawget(L, LUA_GLOBALSINDEX);
  int type = lua_type(L, -1);
  if (type != LUA_TNIL) return type;
  lua_pop(L, 1);
  lua_pushvalue(L, name);
  lua_gettable(L, LUA_GLOBALSINDEX);
  return lua_type(L, -1);
}

static void note_handler(lua_State *L, dispatch *d) {
  lua_Debug ar;
  if (push_global(L, HANDLER) == LUA_TFUNCTION && lua_getinfo(L, ">S", &ar))
    weir_set_guess(d->vm, weir_file(&ar), ar.linedefined);
}

// Runs records until the end of the batch or an error, which the caller counts before it calls again.
static int run(lua_State *L) {
  dispatch *d = lua_touserdata(L, 1);
  weir_dispatch_state *s = d->s;
  weir_vm *vm = d->vm;
  lua_settop(L, 1);
  lua_pushstring(L, d->filter);
  lua_pushstring(L, d->handler);
  note_handler(L, d);
  d->in_record = 0;
  weir_apply_limit(vm, L);
  for (;;) {
    d->in_record = 0;
    lua_settop(L, KEEP);
    if (vm->exited) {
      s->stop = STOP_EXIT;
      return 0;
    }
    if (d->p == d->end) return 0;
    if (s->limit > 0 && s->pending >= s->limit && s->given > 0) {
      s->stop = STOP_LIMIT;
      return 0;
    }
    const uint8_t *p = d->p;
    uint64_t type, source, destination, n;
    if (!uvarint(&p, d->end, &type) || !uvarint(&p, d->end, &source) || !uvarint(&p, d->end, &destination) ||
        !uvarint(&p, d->end, &n) || n > (uint64_t)(d->end - p) || type > UINT32_MAX) {
      s->stop = STOP_BATCH;
      return 0;
    }
    d->p = p + n;
    d->type = (uint32_t)type;
    d->in_record = 1;
    s->records++;
    s->pending++;
    weir_next_call(vm);
    vm->quiet = s->described >= s->messages;
    if (s->before) weirBefore(vm->index, (int)(s->records - 1), (uint32_t)type, (uint32_t)source, (uint32_t)destination, (void *)p, (size_t)n);
    weir_format *f = weir_find_format(vm, (uint32_t)type);
    if (!f) {
      s->undefined++;
      continue;
    }
    if (d->filter[0]) {
      if (push_global(L, FILTER) != LUA_TNIL) {
        lua_pushinteger(L, (lua_Integer)(type >> 16));
        lua_pushinteger(L, (lua_Integer)(type & 0xffff));
        s->given++; // unless the filter says no: one that raises an error has not
        lua_call(L, 2, 1);
        if (!lua_isboolean(L, -1)) {
          not_boolean(L, d, d->filter);
          continue;
        }
        s->given--;
        if (!lua_toboolean(L, -1)) {
          s->filtered++;
          continue;
        }
      }
      lua_settop(L, KEEP);
    }
    if (vm->hard_limit && vm->used >= vm->collect_at) weir_apply_limit(vm, L);
    push_global(L, HANDLER);
    if (!weir_call_with_record(L, f, p, (size_t)n, (int)s->read_only, &s->given)) {
      s->malformed++;
      describe(d, CAUSE_MALFORMED, "malformed payload", "", 0);
      continue;
    }
    if (!lua_isboolean(L, -1)) not_boolean(L, d, d->handler);
    else if (lua_toboolean(L, -1)) {
      s->yes++;
      s->last_true = s->records - 1;
      s->pending = s->given = 0;
    } else s->no++;
  }
}

static int protect(lua_State *L) {
  dispatch *d = lua_touserdata(L, 1);
  lua_settop(L, 1);
  lua_pushcfunction(L, weir_handler);
  for (;;) {
    lua_settop(L, 2);
    lua_pushcfunction(L, run);
    lua_pushvalue(L, 1);
    d->vm->error.message.len = 0;
    d->vm->limit = 0;
    if (!lua_pcall(L, 1, 0, 2)) return 0;
    d->vm->limit = 0; // until run applies it again
    weir_dispatch_state *s = d->s;
    int interrupted = d->vm->hooked;
    weir_unseen_error(d->vm, L);
    if (d->in_record) {
      s->failed++;
      describe(d, interrupted ? CAUSE_DEADLINE : CAUSE_ERROR, NULL, NULL, 0);
    }
    if (d->vm->exited || interrupted || !d->in_record) {
      s->stop = d->vm->exited ? STOP_EXIT : interrupted ? STOP_DEADLINE : STOP_BATCH;
      return 0;
    }
  }
}

// Runs a batch. The errors are left in vm->reply. 2: the script had exited before.
int weir_dispatch(weir_vm *vm, const void *batch, size_t len, weir_dispatch_state *s, const char *filter, const char *handler) {
  if (vm->exited) return 2;
  weir_buffer errors = {0};
  dispatch d = {.vm = vm, .s = s, .start = batch, .p = batch, .end = (const uint8_t *)batch + len, .filter = filter, .handler = handler, .errors = &errors};
  weir_saved saved;
  weir_enter(vm, &saved);
  s->last_true = -1;
  int status = lua_cpcall(vm->current, protect, &d);
  if (status) lua_pop(vm->current, 1);
  s->used = d.p - d.start;
  vm->quiet = 0;
  weir_leave(vm, &saved);
  vm->reply.len = 0;
  weir_put(&vm->reply, errors.p, errors.len);
  free(errors.p);
  return status ? 1 : 0;
}
