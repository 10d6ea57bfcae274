// Numbers, sizes and times as people read them.

const grouped = new Intl.NumberFormat("en");
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

/** 1234567 as 1,234,567. A minus sign is as wide as a digit. */
export function count(value: number | bigint): string {
  return grouped.format(value).replace("-", "−");
}

/** "1 flight", "2 flights". */
export function some(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Bytes, in decimal units as disks have them. */
export function bytes(value: number): string {
  if (value < 1000) return `${value} B`;
  if (value < 999_500) return `${tenths.format(value / 1e3)} kB`;
  return value < 999.5e6 ? `${tenths.format(value / 1e6)} MB` : `${tenths.format(value / 1e9)} GB`;
}

/** Milliseconds, as seconds if they are many. */
export function duration(ms: number): string {
  return ms < 999.5 ? `${Math.round(ms)} ms` : `${tenths.format(ms / 1000)} s`;
}

/** "2001-01-31 17:05". Flights have the local time of their airport, written as if it were UTC. */
export function minute(date: Date): string {
  return date.toISOString().slice(0, 16).replace("T", " ");
}

/** "Wed 31 Jan" of a day since 1970. */
export function day(number: number): string {
  const date = new Date(number * 86_400_000);
  return date.toLocaleDateString("en-GB", {
    weekday: "short",
    day: "numeric",
    month: "short",
    timeZone: "UTC",
  });
}
