// A clock that is wrong: of a worker by as many milliseconds as its name says, of a page as its storage says. It runs
// before whatever asks for the time, in a page as a classic script.

{
  const RightDate = Date;
  const isWorker = typeof localStorage === "undefined";
  let ahead = Number(isWorker ? globalThis.name : localStorage.getItem("ahead"));
  const now = () => RightDate.now() + ahead;
  globalThis.Date = class Date extends RightDate {
    constructor(...given) {
      if (given.length === 0) super(now());
      else super(...given);
    }
    static now = now;
  };
  globalThis.setClock = (milliseconds) => {
    ahead = milliseconds;
    if (!isWorker) localStorage.setItem("ahead", String(milliseconds));
  };
}
