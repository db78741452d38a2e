# Removes what one owner made. Arguments: prefix, cgroup folder, bpffs mount, temporary folder, record.
# Standard input is a pipe from the owner: its end means that the owner is done, or dead.
prefix=$1 cgroup=$2 bpffs=$3 temp=$4 record=$5
trap '' INT TERM HUP
cat >/dev/null
[ -n "$prefix" ] || exit 1

if [ -d "$cgroup" ]; then
    echo 1 >"$cgroup/cgroup.kill"
    tries=0 # 500 pauses of 10 ms: killed processes take some time to close thousands of sockets
    while grep -q '^populated 1' "$cgroup/cgroup.events" && [ $tries -lt 500 ]; do
        sleep 0.01
        tries=$((tries + 1))
    done
    find "$cgroup" -depth -type d -exec rmdir {} \;
fi
for pins in "$bpffs/$prefix"-*; do
    [ -e "$pins" ] && rm -rf "$pins"
done
for netns in /run/netns/"$prefix"-*; do
    [ -e "$netns" ] && ip netns del "${netns##*/}"
done
case $temp in
*/nodemesh-"$prefix") rm -rf "$temp" ;;
esac
rm -f "$record"
