//go:build cgo

// Interruption and position from other threads. LuaJIT allows lua_sethook at any moment of the
// thread that runs the state, in a signal handler, but not from another thread at the same time.
// So the other thread sends the running one a signal.

#define _GNU_SOURCE
#include "vm.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

__thread weir_vm *weir_running;

#define SIGNAL (SIGRTMIN + 9)

enum { IDLE, WANTED, WRITING, KNOWN };

static void copy_position(lua_State *L, weir_vm *vm) {
  int expected = WANTED;
  if (!__atomic_compare_exchange_n(&vm->want, &expected, WRITING, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return;
  lua_Debug ar;
  if (!weir_script_level(L, 0, &ar)) {
    __atomic_store_n(&vm->want, IDLE, __ATOMIC_RELEASE);
    return;
  }
  const char *file = weir_file(&ar);
  size_t n = strnlen(file, sizeof vm->position_file - 1);
  memcpy(vm->position_file, file, n);
  vm->position_file[n] = 0;
  vm->position_line = ar.currentline;
  __atomic_store_n(&vm->want, KNOWN, __ATOMIC_RELEASE);
}

static const char *deadline_message(weir_vm *vm) {
  static __thread char text[80];
  if (vm->budget > 0) snprintf(text, sizeof text, "time budget of %g s exceeded", vm->budget);
  else snprintf(text, sizeof text, "interrupted");
  return text;
}

// Raises the error that ends an interrupted call.
void weir_stop(lua_State *L, weir_vm *vm) {
  if (vm->exited) luaL_error(L, "os.exit called");
  lua_Debug at;
  if (weir_script_level(L, 0, &at)) {
    if (!vm->stop_line) {
      const char *file = weir_file(&at);
      size_t n = strnlen(file, sizeof vm->stop_file - 1);
      memcpy(vm->stop_file, file, n);
      vm->stop_file[n] = 0;
      vm->stop_line = at.currentline;
    }
    luaL_error(L, "%s:%d: %s", at.short_src, at.currentline, deadline_message(vm));
  }
  if (vm->stop_line) { // the script's frames are gone: a prelude caught the error
    lua_pushfstring(L, "%s:%d: %s", vm->stop_file, vm->stop_line, deadline_message(vm));
    lua_error(L);
  }
  luaL_error(L, "%s", deadline_message(vm));
}

static void hook(lua_State *L, lua_Debug *ar) {
  (void)ar;
  weir_vm *vm = weir_running;
  if (!vm) return;
  if (__atomic_load_n(&vm->want, __ATOMIC_ACQUIRE) == WANTED) copy_position(L, vm);
  if (!vm->hooked) {
    lua_sethook(L, NULL, 0, 0);
    return;
  }
  weir_stop(L, vm); // again at every instruction until the host has control: a pcall cannot hide it
}

void weir_arm(weir_vm *vm) {
  vm->hooked = 1;
  lua_sethook(vm->main, hook, LUA_MASKCOUNT, 1);
}

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  (void)context;
  int saved = errno;
  weir_vm *vm = weir_running;
  if (vm && vm->running > 0) {
    if (__atomic_load_n(&vm->interrupt, __ATOMIC_ACQUIRE) == vm->call) {
      weir_arm(vm);
    } else if (__atomic_load_n(&vm->want, __ATOMIC_ACQUIRE) == WANTED) {
      if (vm->inside) copy_position(vm->inside, vm); // a Go function runs, the Lua stack is at rest
      else if (!vm->hooked) lua_sethook(vm->main, hook, LUA_MASKCOUNT, 1);
    }
  }
  errno = saved;
}

int weir_signal_setup(void) {
  weir_watch_abort();
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  return sigaction(SIGNAL, &action, NULL);
}

static void wake(weir_vm *vm) {
  syscall(SYS_tgkill, getpid(), __atomic_load_n(&vm->thread, __ATOMIC_RELAXED), SIGNAL);
}

// Interrupts the call with this number, if it still runs.
void weir_interrupt(weir_vm *vm, uint64_t call) {
  __atomic_store_n(&vm->interrupt, call, __ATOMIC_RELEASE);
  wake(vm);
}

// Asks for the position. 0 when nothing runs.
int weir_position(weir_vm *vm) {
  if (__atomic_load_n(&vm->running, __ATOMIC_ACQUIRE) == 0) return 0;
  __atomic_store_n(&vm->want, WANTED, __ATOMIC_RELEASE);
  wake(vm);
  return 1;
}

// 1 when the answer is there.
int weir_position_result(weir_vm *vm, int give_up) {
  int32_t state = __atomic_load_n(&vm->want, __ATOMIC_ACQUIRE);
  if (state == WANTED && give_up) {
    if (__atomic_compare_exchange_n(&vm->want, &state, IDLE, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return 0;
  }
  return state == KNOWN;
}

void weir_set_guess(weir_vm *vm, const char *file, int line) {
  uint32_t version = vm->guess_version;
  __atomic_store_n(&vm->guess_version, version + 1, __ATOMIC_SEQ_CST);
  size_t n = strnlen(file, sizeof vm->guess_file - 1);
  memcpy(vm->guess_file, file, n);
  vm->guess_file[n] = 0;
  vm->guess_line = line;
  __atomic_store_n(&vm->guess_version, version + 2, __ATOMIC_SEQ_CST);
}
