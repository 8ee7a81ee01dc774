// The C half of a VM: everything that may raise a Lua error happens here, under pcall.
#ifndef WEIR_LUA_VM_H
#define WEIR_LUA_VM_H

#include <stddef.h>
#include <stdint.h>
#include <luajit-2.1/lauxlib.h>
#include <luajit-2.1/lua.h>

#define WEIR_ARGUMENTS 8 // read by Go without another call
#define WEIR_SPARES 33   // sizes of small pieces of memory
#define WEIR_DEPTH 100   // Go functions inside Go functions

typedef struct {
  char *p;
  size_t len, cap;
} weir_buffer;

// One argument of a Go function. Types beyond Lua's: see WEIR_T_*.
typedef struct {
  int64_t type;
  double n;      // number or boolean; id of an object or a record
  const char *s; // bytes of a string or of a record's payload
  size_t len;
} weir_argument;

#define WEIR_T_OBJECT 100
#define WEIR_T_RECORD 101

// One running Go function. The results are encoded into out.
typedef struct {
  lua_State *L;
  char *stack; // C stack at the call; a frame deeper than the current one was left by an error
  int64_t count;
  weir_argument arguments[WEIR_ARGUMENTS];
  weir_buffer out;
} weir_frame;

typedef struct {
  weir_buffer message, file, traceback;
  int line;
  int deadline;
} weir_error;

typedef struct weir_format weir_format;

typedef struct weir_vm {
  // Read by other threads.
  uint64_t call;      // number of the running call into Lua, one per record in a dispatch
  int32_t running;    // nesting of requests from Go, 0 when idle
  int32_t thread;     // kernel id of the thread that runs it
  uint64_t interrupt; // number of the call to interrupt
  int32_t want;       // state of a request for the position
  int32_t position_line;
  char position_file[256];
  uint32_t guess_version; // odd while it is written
  int32_t guess_line;
  char guess_file[256];

  lua_State *main, *current;
  lua_State *inside; // Lua thread whose Go function runs now, or NULL
  int index;         // of the Go side
  size_t used, limit, hard_limit, collect_at;
  int refused; // allocations in a row
  void *spare[WEIR_SPARES]; // freed pieces by their size, each with the address of the next
  size_t spared;            // bytes of them
  weir_frame *frames[WEIR_DEPTH];
  int depth;
  int hooked, exited, exit_code, exit_line, quiet;
  char exit_file[256];
  int stop_line; // where the call that is being stopped was first, 0 for nowhere
  char stop_file[256];
  double budget; // seconds, for the message
  weir_error error;
  weir_buffer reply;
  weir_format **formats; // all, to free
  int format_count;
  weir_format **table; // by type, open addressing
  uint32_t table_size, table_used;
} weir_vm;

typedef struct {
  const uint8_t *p, *end;
} weir_reader;

// vm.c
int weir_setup(void); // once in a process, before the first state; not 0 when it fails
weir_vm *weir_open(int index, size_t limit);
void weir_close(weir_vm *vm);
int weir_request(weir_vm *vm, const void *in, size_t len);
typedef struct {
  weir_vm *running;
  lua_State *current, *inside;
  int depth;
} weir_saved;
void weir_enter(weir_vm *vm, weir_saved *saved);
void weir_leave(weir_vm *vm, weir_saved *saved);
void weir_next_call(weir_vm *vm);
int weir_handler(lua_State *L);
#define WEIR_PRELUDE "=weir/" // how names of embedded chunks start
const char *weir_file(const lua_Debug *ar);
int weir_script_level(lua_State *L, int level, lua_Debug *ar);
void weir_unseen_error(weir_vm *vm, lua_State *L);
weir_vm *weir_of(lua_State *L);
void weir_apply_limit(weir_vm *vm, lua_State *L);
int weir_grow(weir_frame *f, size_t cap);
void weir_put(weir_buffer *b, const void *p, size_t n);
void weir_put_u32(weir_buffer *b, uint32_t v);
void weir_put_bytes(weir_buffer *b, const void *p, size_t n);
void weir_put_error(weir_buffer *b, weir_vm *vm);
int weir_os_exit(lua_State *L);
int weir_guess(lua_State *L);

// value.c
uint32_t weir_u32(weir_reader *r);
const char *weir_bytes(weir_reader *r, size_t *n);
void weir_push(lua_State *L, weir_vm *vm, weir_reader *r);
void weir_put_value(lua_State *L, weir_vm *vm, weir_buffer *b, int i, int depth);
void weir_define_type(lua_State *L, weir_vm *vm, weir_reader *r);
void weir_read_extra(weir_frame *f, int i, weir_argument *a);
int weir_encode_argument(weir_frame *f, int i);

// record.c
#define WEIR_RECORD_MAGIC 0x57454952
void weir_define_record(lua_State *L, weir_vm *vm, weir_reader *r);
weir_format *weir_find_format(weir_vm *vm, uint32_t type);
int weir_push_record(lua_State *L, weir_format *f, const uint8_t *p, size_t n, int read_only);
int weir_call_with_record(lua_State *L, weir_format *f, const uint8_t *p, size_t n, int read_only, int64_t *given);
int weir_is_record(lua_State *L, int i, uint32_t *type, const uint8_t **p, size_t *n);
void weir_free_formats(weir_vm *vm);

// interrupt.c
extern __thread weir_vm *weir_running;
int weir_signal_setup(void);
void weir_interrupt(weir_vm *vm, uint64_t call);
void weir_stop(lua_State *L, weir_vm *vm);
void weir_arm(weir_vm *vm);
int weir_position(weir_vm *vm);
int weir_position_result(weir_vm *vm, int give_up);
void weir_set_guess(weir_vm *vm, const char *file, int line);

// crash.c
void weir_watch_abort(void);

// dispatch.c
typedef struct {
  // asked
  const char *filter, *handler;
  int64_t read_only, limit, messages, before;
  // counted
  int64_t pending, given;
  int64_t records, used, stop, undefined, malformed, filtered, yes, no, not_boolean, failed, last_true, described;
} weir_dispatch_state;
int weir_dispatch(weir_vm *vm, const void *batch, size_t len, weir_dispatch_state *s, const char *filter, const char *handler);

#endif
