// The page to sign in. Keeps nothing: whoever asks for it keeps the token.

import { el, say } from "./dom.js";

/** Asks for a token in `main`; `taken(token)` gets one that can be sent. */
export function signIn(main, taken, why = "", hint = "") {
  const input = el("input", {
    type: "password",
    id: "token",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    maxlength: "8192",
    "aria-describedby": "token-about",
  });
  const form = el(
    "form",
    { class: "sign-in" },
    el("h1", { text: "Sign in" }),
    why && el("div", { class: "refusal" }, el("p", { text: why }), hint && el("p", { text: hint })),
    el(
      "p",
      { class: "field" },
      el("label", { for: "token", text: "Token" }),
      input,
      el("small", {
        id: "token-about",
        class: "soft",
        text: "Paste what penstock token issue printed. It is kept until this tab is closed, and sent in a header only.",
      }),
    ),
    el("p", { class: "row" }, el("button", { type: "submit", class: "main", text: "Sign in" })),
    el("pre", {
      class: "soft",
      tabindex: "0",
      "aria-label": "How to make a token",
      text: "penstock token issue --subject you --role viewer",
    }),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = input.value.trim().replace(/^Bearer\s+/i, "");
    // What cannot be a header is no token; fetch would only throw.
    if (!/^[\x21-\x7e]+$/.test(given)) {
      signIn(main, taken, "That is no token.", "Paste the whole of what penstock token issue printed, in one line.");
      return;
    }
    taken(given);
  });
  main.replaceChildren(form);
  if (why) say(`${why} ${hint}`);
  input.focus({ preventScroll: true });
}
