//go:build cgo

#define _GNU_SOURCE
#include "vm.h"
#include <luajit-2.1/lualib.h>
#include <luajit-2.1/luajit.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "_cgo_export.h"

static const char vm_key = 0;

weir_vm *weir_of(lua_State *L) {
  lua_pushlightuserdata(L, (void *)&vm_key);
  lua_rawget(L, LUA_REGISTRYINDEX);
  weir_vm *vm = lua_touserdata(L, -1);
  lua_pop(L, 1);
  return vm;
}

// Refusals in a row after which a small piece is granted over the limit, and how far over it that goes: LuaJIT's compiler
// tries for ever to report that it gave up when it has no memory to report it with.
enum { REFUSALS = 100, SMALL = 16 << 10 };

// What malloc keeps of freed memory, in bytes, and from what size on a piece is mapped on its own. A batch makes some
// MiB of garbage: given back to the kernel after each collection, every page of it costs a fault in the next one,
// which is most of the time of a small callback. All states of the process share what is kept.
enum { KEPT = 16 << 20, MAPPED = 4 << 20 };

int weir_setup(void) {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_TRIM_THRESHOLD, KEPT);
  mallopt(M_MMAP_THRESHOLD, MAPPED);
  return weir_signal_setup();
}

// Small pieces that were freed are kept for the next ones of their size, up to SPARE bytes: LuaJIT says how large a piece was, so this
// is a few instructions where malloc looks for neighbours to join. The sizes are those malloc rounds up to: 8, 24, 40 ... bytes.
enum { SPARE = 4 << 20, LARGEST_SPARE = 16 * (WEIR_SPARES - 1) + 8 };

static size_t spare_of(size_t size) { return (size + 7) / 16; }

static void *take(weir_vm *vm, size_t size) {
  if (size > LARGEST_SPARE) return malloc(size);
  size_t of = spare_of(size);
  void **p = vm->spare[of];
  if (!p) return malloc(16 * of + 8);
  vm->spare[of] = *p;
  vm->spared -= 16 * of + 8;
  __builtin_prefetch(*p); // the next one
  return p;
}

static void give(weir_vm *vm, void *p, size_t size) {
  size_t of = spare_of(size);
  if (!p || size > LARGEST_SPARE || vm->spared > SPARE) {
    free(p);
    return;
  }
  *(void **)p = vm->spare[of];
  vm->spare[of] = p;
  vm->spared += 16 * of + 8;
}

static void *resize(weir_vm *vm, void *p, size_t old, size_t size) {
  if (old > LARGEST_SPARE && size > LARGEST_SPARE) return realloc(p, size);
  if (old <= LARGEST_SPARE && size <= LARGEST_SPARE && spare_of(old) == spare_of(size)) return p;
  void *q = take(vm, size);
  if (!q) return NULL;
  memcpy(q, p, old < size ? old : size);
  give(vm, p, old);
  return q;
}

// The allocator of a state, counted. LuaJIT's own gives memory back to the kernel at once.
static void *allocate(void *data, void *p, size_t old, size_t size) {
  weir_vm *vm = data;
  if (size > old && vm->limit && vm->used - old + size > vm->limit) {
    if (++vm->refused < REFUSALS || size - old > SMALL || vm->used - old + size > vm->limit + vm->limit / 8) return NULL;
  }
  if (size > old) vm->refused = 0;
  void *q = NULL;
  if (size == 0) give(vm, p, old);
  else if (!(q = p ? resize(vm, p, old, size) : take(vm, size))) return NULL;
  __atomic_store_n(&vm->used, vm->used - old + size, __ATOMIC_RELAXED);
  return q;
}

void weir_put(weir_buffer *b, const void *p, size_t n) {
  if (b->cap - b->len < n) {
    size_t cap = (b->len + n) * 2 + 64;
    char *q = realloc(b->p, cap);
    if (!q) abort(); // the process is out of memory, there is nobody to tell
    b->p = q;
    b->cap = cap;
  }
  if (n) memcpy(b->p + b->len, p, n);
  b->len += n;
}

void weir_put_u32(weir_buffer *b, uint32_t v) { weir_put(b, &v, 4); }

void weir_put_bytes(weir_buffer *b, const void *p, size_t n) {
  weir_put_u32(b, (uint32_t)n);
  weir_put(b, p, n);
}

void weir_put_error(weir_buffer *b, weir_vm *vm) {
  weir_put_bytes(b, vm->error.message.p, vm->error.message.len);
  weir_put_bytes(b, vm->error.file.p, vm->error.file.len);
  weir_put_u32(b, (uint32_t)vm->error.line);
  weir_put_u32(b, (uint32_t)vm->error.deadline);
  weir_put_bytes(b, vm->error.traceback.p, vm->error.traceback.len);
}

static void set(weir_buffer *b, const char *s, size_t n) {
  b->len = 0;
  weir_put(b, s, n);
}

// What a script raises may be of any size; more than this of it tells nobody anything.
enum { LONGEST_MESSAGE = 64 << 10 };

static void set_error(weir_vm *vm, const char *message, size_t n) {
  set(&vm->error.message, message, n < LONGEST_MESSAGE ? n : LONGEST_MESSAGE);
  vm->error.file.len = vm->error.traceback.len = 0;
  vm->error.line = 0;
  vm->error.deadline = vm->hooked && !vm->exited;
}

// The name of the file or chunk, without LuaJIT's marks.
const char *weir_file(const lua_Debug *ar) {
  return ar->source[0] == '@' || ar->source[0] == '=' ? ar->source + 1 : ar->short_src;
}

// Finds the innermost code of the script from a level on: not C, not the prelude.
int weir_script_level(lua_State *L, int level, lua_Debug *ar) {
  for (int last = level + 250; level < last && lua_getstack(L, level, ar); level++)
    if (lua_getinfo(L, "Sl", ar) && ar->currentline > 0 && strncmp(ar->source, WEIR_PRELUDE, sizeof WEIR_PRELUDE - 1)) return 1;
  return 0;
}

// The message handler of every pcall from Go: keeps what the error was, before the stack is gone.
int weir_handler(lua_State *L) {
  weir_vm *vm = weir_of(L);
  vm->limit = 0; // the request ends here
  lua_settop(L, 1);
  if (lua_type(L, 1) != LUA_TSTRING && lua_type(L, 1) != LUA_TNUMBER) {
    int told = luaL_getmetafield(L, 1, "__tostring");
    if (told) {
      lua_pushvalue(L, 1);
      lua_pcall(L, 1, 1, 0); // its error is as good a message
    }
    if (told && lua_type(L, -1) == LUA_TSTRING) {
      lua_replace(L, 1);
    } else {
      lua_settop(L, 1);
      if (lua_istable(L, 1)) {
        lua_pushliteral(L, "message");
        lua_rawget(L, 1);
      }
      if (lua_type(L, -1) == LUA_TSTRING) {
        lua_replace(L, 1);
      } else {
        lua_settop(L, 1);
        lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
        lua_replace(L, 1);
      }
    }
  }
  lua_settop(L, 1);
  size_t n, tn = 0;
  const char *t = "";
  if (!vm->quiet) {
    luaL_traceback(L, L, NULL, 1);
    t = lua_tolstring(L, -1, &tn);
  }
  const char *s = lua_tolstring(L, 1, &n);
  set_error(vm, s, n);
  set(&vm->error.traceback, t, tn);
  lua_Debug ar;
  if (weir_script_level(L, 1, &ar)) {
    const char *file = weir_file(&ar);
    set(&vm->error.file, file, strlen(file));
    vm->error.line = ar.currentline;
  }
  lua_settop(L, 1);
  return 1;
}

// After a failed pcall: an error that weir_handler did not see, because memory or the stack was used up or
// the handler itself failed. Where it was is a guess.
void weir_unseen_error(weir_vm *vm, lua_State *L) {
  if (vm->error.message.len) return;
  vm->collect_at = vm->hard_limit / 4 * 3; // it may have been memory
  size_t n;
  const char *s = lua_tolstring(L, -1, &n);
  set_error(vm, s ? s : "error in error handling", s ? n : 23);
  set(&vm->error.file, vm->guess_file, strlen(vm->guess_file));
  vm->error.line = vm->guess_line;
}

static int open_state(lua_State *L) {
  weir_vm *vm = lua_touserdata(L, 1);
  lua_pushlightuserdata(L, (void *)&vm_key);
  lua_pushlightuserdata(L, vm);
  lua_rawset(L, LUA_REGISTRYINDEX);
  luaL_openlibs(L);
  lua_getglobal(L, "os");
  lua_pushcfunction(L, weir_os_exit);
  lua_setfield(L, -2, "exit");
  lua_getglobal(L, "jit");
  lua_pushcfunction(L, weir_guess);
  lua_setfield(L, -2, "guess"); // until host.lua takes it
  return 0;
}

weir_vm *weir_open(int index, size_t limit) {
  weir_vm *vm = calloc(1, sizeof *vm);
  if (!vm) return NULL;
  vm->index = index;
  lua_State *L = lua_newstate(allocate, vm);
  if (!L) {
    free(vm);
    return NULL;
  }
  vm->main = vm->current = L;
  if (lua_cpcall(L, open_state, vm)) {
    weir_close(vm);
    return NULL;
  }
  vm->limit = vm->hard_limit = limit;
  vm->collect_at = limit / 4 * 3;
  return vm;
}

void weir_close(weir_vm *vm) {
  weir_saved saved;
  weir_enter(vm, &saved);
  lua_sethook(vm->main, NULL, 0, 0);
  lua_close(vm->main);
  vm->hooked = 0;
  weir_leave(vm, &saved);
  for (int i = 0; i < WEIR_DEPTH; i++)
    if (vm->frames[i]) {
      free(vm->frames[i]->out.p);
      free(vm->frames[i]);
    }
  free(vm->error.message.p);
  free(vm->error.file.p);
  free(vm->error.traceback.p);
  free(vm->reply.p);
  weir_free_formats(vm);
  for (int i = 0; i < WEIR_SPARES; i++)
    for (void *p = vm->spare[i], *next; p; p = next) {
      next = *(void **)p;
      free(p);
    }
  free(vm);
}

int weir_os_exit(lua_State *L) {
  weir_vm *vm = weir_of(L);
  int code = 0;
  if (lua_isboolean(L, 1)) code = !lua_toboolean(L, 1);
  else if (!lua_isnoneornil(L, 1)) code = (int)luaL_checkinteger(L, 1);
  vm->exited = 1;
  vm->exit_code = code;
  lua_Debug ar;
  if (weir_script_level(L, 1, &ar)) {
    const char *file = weir_file(&ar);
    size_t n = strnlen(file, sizeof vm->exit_file - 1);
    memcpy(vm->exit_file, file, n);
    vm->exit_file[n] = 0;
    vm->exit_line = ar.currentline;
  }
  weir_arm(vm);
  return luaL_error(L, "os.exit called");
}

// Called with the file and line of the loop that is being compiled, by the prelude.
int weir_guess(lua_State *L) {
  weir_set_guess(weir_of(L), luaL_checkstring(L, 1), (int)luaL_checkinteger(L, 2));
  return 0;
}

static __thread int32_t thread_id;

// Begins a request from Go; saved keeps what weir_leave restores.
void weir_enter(weir_vm *vm, weir_saved *saved) {
  saved->current = vm->current;
  saved->inside = vm->inside;
  saved->depth = vm->depth;
  saved->running = weir_running;
  vm->inside = NULL;
  vm->limit = 0; // our own small allocations must succeed; weir_apply_limit ends this
  weir_running = vm;
  if (vm->running == 0) {
    vm->current = vm->main;
    if (!thread_id) thread_id = (int32_t)syscall(SYS_gettid);
    __atomic_store_n(&vm->thread, thread_id, __ATOMIC_RELAXED);
    weir_next_call(vm);
  }
  __atomic_store_n(&vm->running, vm->running + 1, __ATOMIC_RELEASE);
}

void weir_leave(weir_vm *vm, weir_saved *saved) {
  __atomic_store_n(&vm->running, vm->running - 1, __ATOMIC_RELEASE);
  if (vm->running == 0) weir_next_call(vm);
  weir_running = saved->running;
  vm->limit = vm->hard_limit;
  vm->current = saved->current;
  vm->inside = saved->inside;
  vm->depth = saved->depth;
}

// Numbers the next call, so that an interruption meant for the last one finds nobody.
void weir_next_call(weir_vm *vm) {
  __atomic_store_n(&vm->call, vm->call + 1, __ATOMIC_SEQ_CST);
  if (vm->hooked && !vm->exited) {
    vm->hooked = vm->stop_line = 0;
    lua_sethook(vm->main, NULL, 0, 0);
  }
}

// Applies the limit from here on. Garbage must not use it up: near it everything is collected, and
// again when half of what was left is used.
void weir_apply_limit(weir_vm *vm, lua_State *L) {
  size_t limit = vm->hard_limit;
  if (limit && vm->used >= vm->collect_at) {
    vm->collect_at = limit; // should the collection raise
    lua_gc(L, LUA_GCCOLLECT, 0);
    size_t left = limit > vm->used ? limit - vm->used : 0, low = limit / 4 * 3;
    vm->collect_at = vm->used + left / 2 + limit / 128;
    if (vm->collect_at < low) vm->collect_at = low;
  }
  vm->limit = limit;
}

int weir_grow(weir_frame *f, size_t cap) {
  if (f->out.cap >= cap) return 1;
  char *p = realloc(f->out.p, cap);
  if (!p) return 0;
  f->out.p = p;
  f->out.cap = cap;
  return 1;
}

static void note_entry(weir_vm *vm, lua_State *L, int i) {
  if (vm->running != 1 || !lua_isfunction(L, i)) return;
  lua_Debug ar;
  lua_pushvalue(L, i);
  if (lua_getinfo(L, ">S", &ar))
    weir_set_guess(vm, weir_file(&ar), ar.linedefined);
}

enum { OP_CALL = 1, OP_CALL_REF, OP_LOAD, OP_SET, OP_GET, OP_COLLECT, OP_TYPE, OP_RECORD, OP_RELEASE, OP_DEFINED };

typedef struct {
  weir_vm *vm;
  weir_reader in;
  weir_buffer out;
  int raised; // the error was seen by weir_handler
} request;

static void call_with_arguments(lua_State *L, request *q) {
  int function = lua_gettop(L);
  note_entry(q->vm, L, function);
  uint32_t n = weir_u32(&q->in);
  luaL_checkstack(L, (int)n + 20, "too many arguments");
  for (uint32_t i = 0; i < n; i++) weir_push(L, q->vm, &q->in);
  lua_call(L, (int)n, LUA_MULTRET);
  int results = lua_gettop(L) - function + 1;
  weir_put_u32(&q->out, (uint32_t)results);
  for (int i = 0; i < results; i++) weir_put_value(L, q->vm, &q->out, function + i, 0);
}

static void get_path(lua_State *L, request *q, uint32_t steps) {
  lua_pushvalue(L, LUA_GLOBALSINDEX);
  for (uint32_t i = 0; i < steps; i++) {
    size_t n;
    const char *s = weir_bytes(&q->in, &n);
    lua_pushlstring(L, s, n);
    lua_gettable(L, -2);
    lua_remove(L, -2);
  }
}

static int run(lua_State *L) {
  request *q = lua_touserdata(L, 1);
  weir_vm *vm = q->vm;
  lua_settop(L, 0);
  weir_apply_limit(vm, L);
  switch (weir_u32(&q->in)) {
  case OP_CALL:
    get_path(L, q, weir_u32(&q->in));
    call_with_arguments(L, q);
    break;
  case OP_CALL_REF:
    lua_rawgeti(L, LUA_REGISTRYINDEX, (int)weir_u32(&q->in));
    call_with_arguments(L, q);
    break;
  case OP_LOAD: {
    size_t name_len, n;
    const char *name = weir_bytes(&q->in, &name_len);
    lua_pushlstring(L, name, name_len);
    const char *s = weir_bytes(&q->in, &n);
    if (luaL_loadbuffer(L, s, n, lua_tostring(L, 1))) return lua_error(L);
    weir_put_value(L, vm, &q->out, lua_gettop(L), 0);
    break;
  }
  case OP_SET: {
    uint32_t steps = weir_u32(&q->in);
    get_path(L, q, steps - 1);
    weir_push(L, vm, &q->in); // the last step: a name
    weir_push(L, vm, &q->in);
    lua_settable(L, -3);
    break;
  }
  case OP_GET:
    get_path(L, q, weir_u32(&q->in));
    weir_put_value(L, vm, &q->out, -1, 0);
    break;
  case OP_DEFINED: {
    lua_Debug ar = {.linedefined = -1};
    get_path(L, q, weir_u32(&q->in));
    if (lua_isfunction(L, -1)) lua_getinfo(L, ">S", &ar);
    const char *file = ar.linedefined > 0 ? weir_file(&ar) : "";
    weir_put_bytes(&q->out, file, strlen(file));
    weir_put_u32(&q->out, (uint32_t)ar.linedefined);
    break;
  }
  case OP_COLLECT:
    lua_gc(L, LUA_GCCOLLECT, 0);
    break;
  case OP_TYPE:
    weir_define_type(L, vm, &q->in);
    break;
  case OP_RECORD:
    weir_define_record(L, vm, &q->in);
    break;
  case OP_RELEASE:
    for (uint32_t n = weir_u32(&q->in); n > 0; n--) luaL_unref(L, LUA_REGISTRYINDEX, (int)weir_u32(&q->in));
    break;
  }
  return 0;
}

static int protect(lua_State *L) {
  request *q = lua_touserdata(L, 1);
  lua_settop(L, 0);
  lua_pushcfunction(L, weir_handler);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, q);
  q->vm->error.message.len = 0;
  if (lua_pcall(L, 1, 0, 1)) {
    weir_unseen_error(q->vm, L);
    q->raised = 1;
  }
  return 0;
}

// Runs one request. Returns 0 and leaves results in vm->reply, 1 with an error there, or 2 when the script has exited.
int weir_request(weir_vm *vm, const void *in, size_t len) {
  if (vm->exited) return 2;
  request q = {.vm = vm, .in = {in, (const uint8_t *)in + len}};
  weir_saved saved;
  weir_enter(vm, &saved);
  if (lua_cpcall(vm->current, protect, &q)) {
    set_error(vm, "not enough memory", 17);
    lua_pop(vm->current, 1);
    q.raised = 1;
  }
  if (q.raised) {
    q.out.len = 0;
    weir_put_error(&q.out, vm);
  }
  weir_leave(vm, &saved);
  free(vm->reply.p);
  vm->reply = q.out;
  return vm->exited ? 2 : q.raised;
}
