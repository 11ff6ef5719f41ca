// The search shows a piece of each page that it finds, and asks for the page: from the disk it may not, so it is here.
const asked = window.fetch;
window.fetch = (address, ...more) => {
  const text = texts[String(address).replace(/^\.\//, "").replace(/\.html$/, "")];
  return text === undefined ? asked(address, ...more) : Promise.resolve(new Response(`<div role="main">${text}</div>`));
};
