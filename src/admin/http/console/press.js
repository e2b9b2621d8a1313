// What is pressed stays where it is until the press is over. A state or an answer that comes between pointer down and click
// would move the page under the pointer, and the click would meet something else or nothing; so both wait for the click.
// Knows nothing of what is pressed.

const PRESSED = "button, a, label, input, .copy, [data-row]";
/** The end of a press may never be told, and the page must go on then. */
const HELD_MS_MAX = 3000;
/** The click of a finger is told some time after its end; that of a press that slid away never is. */
const CLICK_MS_MAX = 400;

let press = null;
let isTooLate = false;

/** Whether nothing may move now. */
export const isPressed = () => press !== null;

/** What waits for this goes on at once, or when the press is over. */
export const released = () => press?.over;

/** Begins to watch. `late()` tells somebody that a press was held for too long and does nothing. */
export function watchPresses(late) {
  const heard = { capture: true, passive: true };
  window.addEventListener("pointerdown", (event) => event.isPrimary && event.button === 0 && begin(event), heard);
  window.addEventListener("pointerup", (event) => event.isPrimary && endIn(CLICK_MS_MAX), heard);
  for (const away of ["pointercancel", "contextmenu"]) window.addEventListener(away, end, heard);
  // A button is pressed by the space bar from its way down to its way up, and by Enter at once.
  window.addEventListener("keydown", (event) => event.key === " " && !event.repeat && begin(event), heard);
  window.addEventListener("keyup", (event) => event.key === " " && endIn(0), heard);
  window.addEventListener("click", (event) => clicked(event, late), { capture: true });
}

function begin({ target }) {
  end();
  isTooLate = false;
  if (!target.closest?.(PRESSED)) return;
  let done;
  const over = new Promise((resolve) => (done = resolve));
  press = { over, done, timer: setTimeout(expire, HELD_MS_MAX) };
}

function end() {
  clearTimeout(press?.timer);
  const done = press?.done;
  press = null;
  done?.();
}

function endIn(ms) {
  if (!press) return;
  clearTimeout(press.timer);
  press.timer = setTimeout(end, ms);
}

/** The page goes on, and what is under the pointer by the time of the click is not what was pressed. */
function expire() {
  isTooLate = true;
  end();
}

function clicked(event, late) {
  // What the keyboard clicks has no count.
  if (isTooLate && event.detail > 0) {
    isTooLate = false;
    event.preventDefault();
    event.stopImmediatePropagation();
    if (window.getSelection()?.isCollapsed !== false) late();
  }
  // After all that listens to the click.
  endIn(0);
}
