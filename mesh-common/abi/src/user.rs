//! Lets the types cross into the maps from user space.
#![expect(unsafe_code, reason = "aya::Pod is an unsafe trait")]

use crate::{
    Address, CidrKey, DirectFlow, FlowKey, FlowValue, Grant, GrantKey, NetPort, Original, ProxyFlowKey,
    Settings, WorkloadEntry,
};

macro_rules! pod {
    ($($name:ty),+) => {
        $(
            // SAFETY: repr(C) or repr(transparent) of integers, without padding (see the layout tests), any bytes valid.
            unsafe impl aya::Pod for $name {}
        )+
    };
}

pod!(
    Address,
    CidrKey,
    DirectFlow,
    FlowKey,
    FlowValue,
    Grant,
    GrantKey,
    NetPort,
    Original,
    ProxyFlowKey,
    Settings,
    WorkloadEntry
);
