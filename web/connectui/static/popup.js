// Tells the window that opened this popup what came of it, and closes the popup
// once the account is connected. Without an opener the page itself says it all.
(() => {
  const { origin, message, close } = document.currentScript.dataset;
  if (!window.opener || window.opener.closed) return;
  window.opener.postMessage(JSON.parse(message), origin);
  if (close !== undefined) window.close();
})();
