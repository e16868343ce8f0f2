// On the sign-in page after signing out: tells this browser's other tabs, which then leave what they show. See watch.js.
if (document.querySelector("[data-signed-out]")) {
  try {
    localStorage.setItem("flagback.signed_out", String(Date.now()));
  } catch {
    // No localStorage: the other tabs find out at their next request.
  }
}
